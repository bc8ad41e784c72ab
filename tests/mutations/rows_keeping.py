"""Breaks of what keeps blobs for a while: how long, and how they come back."""

from __future__ import annotations

from tests.mutations.table import Mutation

KEEPING = "tests/unit/test_keeping.py"
UNDELETE = "tests/store/test_undelete.py"
OVER_HTTP = "tests/http/test_undelete.py"

ROWS = [
    Mutation(
        "kept-blob-is-collected-at-once",
        "services/engines/local/upkeep/collector.py",
        "        if until_ns > now_ns and blob_id not in self._given_up:\n",
        "        if False:\n",
        (UNDELETE,),
    ),
    Mutation(
        "kept-blob-is-kept-for-ever",
        "services/engines/local/upkeep/collector.py",
        "        known = (*self._given_up, *self._kept.due(time.time_ns()))\n",
        "        known = (*self._given_up,)\n",
        (UNDELETE,),
    ),
    Mutation(
        "youngest-kept-is-given-up-first",
        "services/engines/local/upkeep/kept.py",
        "        for _, blob_id in sorted(self._queue):\n",
        "        for _, blob_id in sorted(self._queue, reverse=True):\n",
        (UNDELETE,),
    ),
    Mutation(
        "what-never-was-acknowledged-is-kept",
        "services/engines/local/disk/blob_folder.py",
        '    return failure if keeps else msgspec.structs.replace(failure, sha256=b"", crcs=b"")\n',
        "    return failure\n",
        (KEEPING,),
    ),
    Mutation(
        "records-of-front-ends-are-kept",
        "services/engines/local/disk/keeping.py",
        '        return self.deleted_s > 0 and not location.startswith("\\0")\n',
        "        return self.deleted_s > 0\n",
        (KEEPING,),
    ),
    Mutation(
        "undelete-takes-what-has-the-id-by-now",
        "services/engines/local/serving/joining.py",
        "        if only is not None and not os.path.samestat(found, only):\n",
        "        if False:\n",
        (UNDELETE,),
    ),
    Mutation(
        "by-id-whoever-asks",
        "services/frontends/native/kept.py",
        "        if self.client is not None:\n",
        "        if False:\n",
        (OVER_HTTP,),
    ),
]
