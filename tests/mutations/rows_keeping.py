"""Breaks of how long deleted blobs are kept, and how they are undeleted."""

from __future__ import annotations

from tests.mutations.table import Mutation

KEEPING = "tests/unit/test_keeping.py"
UNDELETE = "tests/store/test_undelete.py"
WIDEN = "tests/disk/test_widen.py"
LIMITS = "tests/store/test_limits.py"
EXPIRY = "tests/store/test_expiry.py"
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
        "self._still_to_do.update(self._given_up, self._kept.due(time.time_ns()))",
        "self._still_to_do.update(self._given_up)",
        (UNDELETE,),
    ),
    Mutation(
        "youngest-kept-is-given-up-first",
        "services/engines/local/upkeep/kept.py",
        "        for _, blob_id, freed_bytes in self._queue:\n",
        "        for _, blob_id, freed_bytes in reversed(list(self._queue)):\n",
        (UNDELETE,),
    ),
    Mutation(
        "what-never-was-acknowledged-is-kept",
        "services/engines/local/disk/blob_folder.py",
        "    if keeps:\n        return failure\n",
        "    if True:\n        return failure\n",
        (KEEPING,),
    ),
    Mutation(
        "records-of-front-ends-are-kept",
        "services/engines/local/disk/keeping.py",
        "        return self.deleted_s > 0 and not is_record(location)\n",
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
        "pieces-that-do-not-come-leave-their-upload",
        "services/copying.py",
        "        await upload.abort(str(err))\n",
        "        pass\n",
        (UNDELETE,),
    ),
    Mutation(
        "by-id-whoever-asks",
        "services/frontends/native/kept.py",
        "        if self.client is not None:\n",
        "        if False:\n",
        (OVER_HTTP,),
    ),
    Mutation(
        "expired-blob-is-listed",
        "services/engines/local/serving/index.py",
        "                if any(map(self.is_over, page",
        "                if False and any(map(self.is_over, page",
        (EXPIRY,),
    ),
    Mutation(
        "expired-blob-is-read",
        "services/engines/local/serving/index.py",
        "        blob = self.seen(location)\n",
        "        blob = self.get(location)\n",
        (EXPIRY,),
    ),
    Mutation(
        "expired-blob-is-served-from-memory",
        "services/engines/local/serving/cache.py",
        "        return None if over_at_s is not None and over_at_s <= time.time() else data\n",
        "        return data\n",
        ("tests/store/test_cache.py",),
    ),
    Mutation(
        "kept-bytes-are-of-the-shared-buffer",
        "services/engines/local/serving/cache.py",
        "made = blob, bytes(data), over_at_s\n",
        "made = blob, data, over_at_s  # type: ignore[assignment]\n",
        ("tests/store/test_cache.py",),
    ),
    Mutation(
        "expired-blob-is-peeked",
        "services/engines/local/serving/hot_reads.py",
        "        if blob is None or (not body and self._expiry.is_over(blob)):\n",
        "        if blob is None:\n",
        (EXPIRY,),
    ),
    Mutation(
        "expiry-ends-what-was-written-anew",
        "services/engines/local/serving/store.py",
        "            if ends is not None and not index.shows(ends):\n",
        "            if False:\n",
        (EXPIRY,),
    ),
    Mutation(
        "expired-blob-is-kept",
        "services/engines/local/serving/store.py",
        "            keeps = seen is not None and ends is None and self.keeping.keeps(location)\n",
        "            keeps = self.keeping.keeps(location)\n",
        (EXPIRY,),
    ),
    Mutation(
        "widen-leaves-the-journal",
        "services/engines/local/upkeep/widen.py",
        "        replay(data_dir)\n",
        "",
        (WIDEN,),
    ),
    Mutation(
        "half-widened-directory-is-served",
        "services/engines/local/disk/directory.py",
        '    if found.format == WIDENING or os.path.lexists(f"{root}/{layout.WIDENING_NAME}"):\n',
        "    if False:\n",
        (WIDEN,),
    ),
    Mutation(
        "most-recently-read-goes-first",
        "services/engines/local/serving/limits.py",
        "in enumerate(sorted(oldest, reverse=True)):\n",
        "in enumerate(sorted(oldest)):\n",
        (LIMITS,),
    ),
    Mutation(
        "hot-reads-are-not-counted",
        "services/engines/local/serving/hot_reads.py",
        "        if body and self._notes_reads:\n            self._limits.read(blob)\n",
        "",
        (LIMITS,),
    ),
    Mutation(
        "what-was-read-meanwhile-is-evicted",
        "services/engines/local/serving/limits.py",
        "        if limits.last_used(blob) != -used:\n",
        "        if False:\n",
        (LIMITS,),
    ),
]
