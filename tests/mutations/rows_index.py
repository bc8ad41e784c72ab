"""Breaks of the index on disk."""

from __future__ import annotations

from tests.mutations.table import Mutation

RUNS = ("tests/disk/test_index_runs.py",)
FOLDERS = ("tests/disk/test_index_folders.py",)
STORE = ("tests/store/test_index.py",)
UNLISTED = ("tests/store/test_unlisted_rows.py",)

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
        "index-older-run-speaks-where-a-newer-one-begins",
        "services/engines/local/index/catalogue.py",
        "else bisect_left(locations, following, at)",
        "else end",
        RUNS,
    ),
    Mutation(
        "index-fence-tells-of-folders-that-were-deleted",
        "services/engines/local/index/format.py",
        "if None in blobs:",
        "if False:",
        FOLDERS,
    ),
    Mutation(
        "index-fence-passes-over-the-rest-of-a-folder",
        "services/engines/local/index/run.py",
        'if end < 0 or f"{before[:end]}0" > location:',
        "if end < 0:",
        FOLDERS,
    ),
    Mutation(
        "index-fence-passes-over-what-is-in-no-folder",
        "services/engines/local/index/run.py",
        'if end < 0 or f"{before[:end]}0" > location:',
        'if f"{before[:end]}0" > location:',
        FOLDERS,
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
        "index-newer-than-the-journal-is-believed",
        "services/engines/local/recovery/restart.py",
        "if max(one[0] for one in found if one is not None) < manifest.epoch:",
        "if False:",
        ("tests/disk/test_index_stamps.py",),
    ),
    Mutation(
        "state-of-another-blob-is-overwritten",
        "services/engines/local/serving/restored_state.py",
        "    except RecordOfAnother:\n        raise\n",
        "",
        ("tests/store/test_exchanged_folders.py",),
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
        "index-copy-from-before-a-write-past-the-journal-is-believed",
        "services/engines/local/index/writer.py",
        "                self._stamp = self.renew()\n",
        "",
        ("tests/store/test_old_indexes.py",),
    ),
    Mutation(
        "what-a-comparison-found-is-forgotten-at-the-stop",
        "services/engines/local/serving/index_keeper.py",
        "if seals and self._on_loop",
        "if False and self._on_loop",
        STORE,
    ),
    Mutation(
        "index-rows-left-out-whatever-changed-in-them",
        "services/engines/local/index/row_stamps.py",
        "if then.get(row) == stamp}",
        "if row in then}",
        STORE,
    ),
    Mutation(
        "index-rows-changed-a-moment-ago-have-stamps",
        "services/engines/local/index/row_stamps.py",
        " and found.st_ctime_ns < quiet_since_ns",
        "",
        UNLISTED,
    ),
    Mutation(
        "index-rows-left-out-beside-what-only-the-journal-has",
        "services/engines/local/recovery/restart.py",
        " - {blob_id >> 16 for blob_id in replayed.ids}",
        "",
        UNLISTED,
    ),
    Mutation(
        "a-full-start-serves-any-of-the-blobs-of-a-location",
        "services/engines/local/recovery/full_start.py",
        "newest = max(rivals, key=rank)",
        "newest = rivals[0]",
        ("tests/disk/test_full_start.py",),
    ),
    Mutation(
        "a-full-start-that-could-not-write-away-serves-what-it-had-read",
        "services/engines/local/recovery/full_start.py",
        "    has_all = False  # `live`",
        "    has_all = True  # `live`",
        ("tests/disk/test_full_start.py",),
    ),
    Mutation(
        "a-full-start-believes-what-it-wrote-away",
        "services/engines/local/index/spills.py",
        " or crc32c(payload) != found",
        "",
        ("tests/disk/test_full_start.py",),
    ),
    Mutation(
        "index-rows-left-out-after-a-start-that-could-not-read-all",
        "services/engines/local/recovery/restart.py",
        "found.live, found.max_seq, stamps if found.is_settled else {})",
        "found.live, found.max_seq, stamps)",
        UNLISTED,
    ),
    Mutation(
        "index-rows-left-out-beside-damage-that-was-not-moved",
        "services/engines/local/serving/index_keeper.py",
        "rows = stamps if is_settled else {}",
        "rows = stamps",
        UNLISTED,
    ),
    Mutation(
        "index-row-stamps-taken-after-the-blobs",
        "services/engines/local/serving/index_keeper.py",
        "rows = stamps if is_settled else {}",
        "rows = row_stamps(self._writer.files.data_dir, ids) if is_settled else {}",
        UNLISTED,
    ),
    Mutation(
        "uploads-of-this-process-are-judged-as-of-a-dead-one",
        "services/engines/local/serving/ids.py",
        "if self._since is None or blob_id not in self._since]",
        "if True]",
        UNLISTED,
    ),
    Mutation(
        "names-are-not-compared-behind-a-start",
        "services/engines/local/engine.py",
        ", store.names.run()",
        "",
        UNLISTED,
    ),
    Mutation(
        "blobs-are-not-compared-behind-a-start",
        "services/engines/local/engine.py",
        "store.comparison.run(), ",
        "",
        UNLISTED,
    ),
]
