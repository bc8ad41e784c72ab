"""Breaks of the way of a write to disk: order, syncs, undoing, acknowledging."""

from __future__ import annotations

from tests.mutations.table import Mutation

FOUND = "tests/faults/test_found.py"
EARLY = "tests/store/test_early_syncs.py"
LADDER = "tests/faults/test_ladder.py"
BESIDE = "tests/store/test_reading_beside_writes.py"

ROWS = [
    Mutation(
        "undo-after-the-old-one-is-marked",
        "services/local/changes.py",
        "        self._decided = True\n        self._undo = []\n",
        "        pass\n",
        (FOUND, LADDER),
    ),
    Mutation(
        "undo-failure-ignored",
        "services/local/committer.py",
        "            if change.stuck:\n",
        "            if False:\n",
        (LADDER,),
    ),
    Mutation(
        "failed-record-stays-in-the-journal",
        "common/journal_file.py",
        "                durable.write_at(self._fd, bytes(len(records)), self._end)\n",
        "                pass\n",
        (FOUND,),
    ),
    Mutation(
        "failed-checkpoint-forgotten",
        "services/local/journaling.py",
        "                blobdir.note_failed_sync(self._where)\n                raise\n",
        "                raise\n",
        (FOUND,),
    ),
    Mutation(
        "checkpoint-on-a-new-descriptor",
        "services/local/journaling.py",
        "file.checkpoint(lambda: durable.sync_file_system(self._root_fd))",
        "file.checkpoint(lambda: durable.sync_file_system(durable.open_folder(self._where.root)))",
        ("tests/store/test_checkpoints.py",),
    ),
    Mutation(
        "refused-checkpoint-forgotten",
        "common/journal_file.py",
        "            self._go(Phase.FULL)\n            raise\n",
        "            self._go(Phase.CLEAN)\n            raise\n",
        ("tests/store/test_checkpoints.py",),
    ),
    Mutation(
        "refused-checkpoint-not-tried-again",
        "services/local/journaling.py",
        "        if self._idle.phase is not Phase.CLEAN:\n            self._make_durable(self._idle)\n",
        "",
        ("tests/store/test_checkpoints.py",),
    ),
    Mutation(
        "file-in-use-taken-for-clean",
        "common/journal_file.py",
        "Phase.CLEAN if found.clean else Phase.FULL",
        "Phase.CLEAN",
        ("tests/store/test_checkpoints.py",),
    ),
    Mutation(
        "sync-after-a-failed-early-sync",
        "services/local/journaling.py",
        "            if self._failed is not None:\n                raise self._failed\n            try:\n",
        "            try:\n",
        (EARLY,),
    ),
    Mutation(
        "failed-early-sync-not-told",
        "services/local/journaling.py",
        "        if self._failed is not None:\n            raise self._failed\n        if not",
        "        if not",
        (EARLY,),
    ),
    Mutation(
        "old-journal-left-in-use",
        "common/replay.py",
        "        journal.mark_clean(found)\n",
        "        pass\n",
        (FOUND,),
    ),
    Mutation(
        "journal-not-emptied-before-a-commit-by-folders",
        "services/local/committer.py",
        "                journaling.empty()\n        except",
        "                pass\n        except",
        (FOUND,),
    ),
    Mutation(
        "lost-piece-not-remembered",
        "services/local/upload.py",
        "                    self._broken = err  # whoever",
        "                    pass  # whoever",
        (FOUND,),
    ),
    Mutation(
        "superseded-blob-that-could-not-be-marked-forgotten",
        "services/local/damage.py",
        "        if location not in self._unsettled:\n",
        "        if True:\n",
        (FOUND,),
    ),
    Mutation(
        "descriptors-left-open",
        "services/local/changes.py",
        "            os.close(self.unsynced.pop())\n",
        "            self.unsynced.pop()\n",
        (LADDER,),
    ),
    Mutation(
        "folder-of-a-failed-create-left",
        "services/local/changes.py",
        "        self._undo.append(lambda: blobdir.discard(self.where, blob_id))\n",
        "",
        (LADDER,),
    ),
    Mutation(
        "a-missing-file-is-damage-at-once",
        "services/local/store.py",
        "        async with self._orders.of(blob.location):\n            if self._maps",
        "        if True:\n            if self._maps",
        (BESIDE,),
    ),
    Mutation(
        "a-write-that-failed-in-its-middle-is-damage",
        "services/local/store.py",
        "            if self._on_fatal is None:  # a write",
        "            if False:  # a write",
        (BESIDE,),
    ),
]
