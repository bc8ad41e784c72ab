"""Breaks of the index on disk."""

from __future__ import annotations

from tests.mutations.table import Mutation

RUNS = ("tests/disk/test_index_runs.py",)
STORE = ("tests/store/test_index.py",)

ROWS = [
    Mutation(
        "index-page-believed-without-its-checksum",
        "services/engines/local/index/run.py",
        'if checksum(memoryview(page)[4:], self._nonce, at) != int.from_bytes(page[:4], "little"):',
        "if False:",
        RUNS,
    ),
    Mutation(
        "index-block-believed-without-its-checksum",
        "services/engines/local/index/run.py",
        "if checksum(payload, self._nonce, at) != found:",
        "if False:",
        RUNS,
    ),
    Mutation(
        "index-checksum-does-not-know-its-place",
        "services/engines/local/index/format.py",
        "return crc32c(payload, (nonce + at) & 0xFFFFFFFF)",
        "return crc32c(payload, nonce)",
        RUNS,
    ),
    Mutation(
        "index-of-somebody-else-is-believed",
        "services/engines/local/recovery/restart.py",
        "if manifest.stamp != stamp:",
        "if False:",
        STORE,
    ),
    Mutation(
        "index-believed-whatever-the-journal-lacks",
        "services/engines/local/recovery/restart.py",
        'return "" if newer == expected else',
        'return "" if True else',
        STORE,
    ),
    Mutation(
        "index-keeps-what-the-journal-covers",
        "services/engines/local/recovery/restart.py",
        "for blob_id in replayed.ids:",
        "for blob_id in ():",
        STORE,
    ),
    Mutation(
        "journal-forgets-what-the-index-lacks",
        "services/engines/local/journal/writer.py",
        "            self._seal(epoch)\n",
        "            pass\n",
        STORE,
    ),
    Mutation(
        "index-kept-beside-a-write-past-the-journal",
        "services/engines/local/serving/group_commit.py",
        "                self._before_bypass()\n",
        "",
        STORE,
    ),
    Mutation(
        "what-a-comparison-found-is-forgotten-at-the-stop",
        "services/engines/local/serving/index_keeper.py",
        "if seals and self._on_loop",
        "if False and self._on_loop",
        STORE,
    ),
]
