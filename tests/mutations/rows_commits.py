"""Breaks of how a write reaches the disk: order, syncs, undoing, acknowledging."""

from __future__ import annotations

from tests.mutations.table import Mutation

FOUND = "tests/faults/test_found.py"
EARLY = "tests/store/test_early_syncs.py"
LADDER = "tests/faults/test_ladder.py"
BESIDE = "tests/store/test_reading_beside_writes.py"

ROWS = [
    Mutation(
        "undo-after-the-old-one-is-marked",
        "services/engines/local/serving/change.py",
        "        self._decided = True\n        self._undo = []\n",
        "        pass\n",
        (FOUND, LADDER),
    ),
    Mutation(
        "failed-sync-of-a-cancelled-upload",
        "services/engines/local/serving/disk_step.py",
        "            owner.stop_for(errors[0])  # whoever waits",
        "            pass  # whoever waits",
        ("tests/store/test_disk_steps.py",),
    ),
    Mutation(
        "undo-failure-ignored",
        "services/engines/local/serving/group_commit.py",
        "        if [change for change in changes if change.stuck]:\n",
        "        if False:\n",
        (LADDER,),
    ),
    Mutation(
        "failed-record-stays-in-the-journal",
        "services/engines/local/journal/file.py",
        "                durable.write_at(self._fd, bytes(len(records)), self._end)\n",
        "                pass\n",
        (FOUND,),
    ),
    Mutation(
        "failed-checkpoint-forgotten",
        "services/engines/local/journal/writer.py",
        "                blob_folder.note_failed_sync(self._data_dir)\n                raise\n",
        "                raise\n",
        (FOUND,),
    ),
    Mutation(
        "checkpoint-on-a-new-descriptor",
        "services/engines/local/journal/writer.py",
        "seal(epoch)\n        durable.sync_file_system(self._root_fd)\n",
        "seal(epoch)\n        durable.sync_file_system(durable.open_folder(self._data_dir.root))\n",
        ("tests/store/test_checkpoints.py",),
    ),
    Mutation(
        "refused-checkpoint-forgotten",
        "services/engines/local/journal/file.py",
        "            self._go(FilePhase.FULL)\n            raise\n",
        "            self._go(FilePhase.CLEAN)\n            raise\n",
        ("tests/store/test_checkpoints.py",),
    ),
    Mutation(
        "refused-checkpoint-not-tried-again",
        "services/engines/local/journal/writer.py",
        "        if self._idle.phase is not CLEAN:\n            self._make_durable(self._idle)\n",
        "",
        ("tests/store/test_checkpoints.py",),
    ),
    Mutation(
        "file-in-use-taken-for-clean",
        "services/engines/local/journal/file.py",
        "FilePhase.CLEAN if found.clean else FilePhase.FULL",
        "FilePhase.CLEAN",
        ("tests/store/test_checkpoints.py",),
    ),
    Mutation(
        "write-back-that-failed-while-no-server-ran-not-asked-for",
        "services/engines/local/journal/replay.py",
        "        if not durable.failed_write_back(fd):\n",
        "        if True:\n",
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "sync-after-a-failed-early-sync",
        "services/engines/local/journal/writer.py",
        "            if self._failed is not None:\n                raise self._failed\n            try:\n",
        "            try:\n",
        (EARLY,),
    ),
    Mutation(
        "failed-early-sync-not-told",
        "services/engines/local/journal/writer.py",
        "        if self._failed is not None:\n            raise self._failed\n        if not",
        "        if not",
        (EARLY,),
    ),
    Mutation(
        "old-journal-left-in-use",
        "services/engines/local/journal/replay.py",
        "        journal.mark_clean(found)\n",
        "        pass\n",
        (FOUND,),
    ),
    Mutation(
        "journal-not-emptied-before-a-commit-by-folders",
        "services/engines/local/serving/group_commit.py",
        "                journaling.empty()\n                self._before_bypass()\n        except",
        "                self._before_bypass()\n        except",
        (FOUND,),
    ),
    Mutation(
        "upload-commits-without-a-piece-that-memory-lacked",
        "services/engines/local/serving/outgoing.py",
        "except BaseException as err:  # MemoryError, say",
        "except BlobkeepError as err:",
        ("tests/store/test_lent_pieces.py", "tests/store/test_multiparts.py"),
    ),
    Mutation(
        "commit-without-the-piece-that-is-being-written",
        "services/engines/local/serving/upload.py",
        "        await self._outgoing.written_behind()\n",
        "",
        ("tests/store/test_lent_pieces.py",),
    ),
    Mutation(
        "lost-piece-not-remembered",
        "services/engines/local/serving/outgoing.py",
        "                    self._broken = broken_by(err)  # whoever",
        "                    pass  # whoever",
        (FOUND,),
    ),
    Mutation(
        "superseded-blob-that-could-not-be-marked-forgotten",
        "services/engines/local/serving/damage.py",
        "        if location not in self.unsettled:\n",
        "        if True:\n",
        (FOUND,),
    ),
    Mutation(
        "descriptors-left-open",
        "services/engines/local/serving/change.py",
        "            os.close(self.unsynced.pop())\n",
        "            self.unsynced.pop()\n",
        (LADDER,),
    ),
    Mutation(
        "folder-of-a-failed-create-left",
        "services/engines/local/serving/change.py",
        "        self._undo.append(lambda: blob_folder.discard(self.data_dir, blob_id))\n",
        "",
        (LADDER,),
    ),
    Mutation(
        "a-missing-file-is-damage-at-once",
        "services/engines/local/serving/store.py",
        "        async with self._locks.of(blob.location):\n            if not self._index",
        "        if True:\n            if not self._index",
        (BESIDE,),
    ),
    Mutation(
        "a-write-that-failed-in-its-middle-is-damage",
        "services/engines/local/serving/store.py",
        "            if self._on_fatal is None:  # a write",
        "            if False:  # a write",
        (BESIDE,),
    ),
    Mutation(
        "journal-that-was-moved-away-written-on",
        "services/engines/local/journal/file.py",
        "        return (found.st_dev, found.st_ino) != self._identity\n",
        "        return False\n",
        ("tests/process/test_lost_journal.py",),
    ),
    Mutation(
        "lost-journal-noticed-by-the-next-write-alone",
        "services/engines/local/serving/background.py",
        "        await committer.keep_journal()\n",
        "        pass\n",
        ("tests/process/test_lost_journal.py",),
    ),
    Mutation(
        "replay-leaves-the-data-of-a-whole-upload-unnamed",
        "services/engines/local/journal/replay.py",
        "    elif wanted.body:\n",
        "    elif False:\n",
        ("tests/store/test_whole_uploads.py",),
    ),
    Mutation(
        "failed-sync-of-a-shared-folder-is-tried-again",
        "services/engines/local/serving/shared_syncs.py",
        "            folder.failed = err\n",
        "",
        ("tests/store/test_whole_uploads.py",),
    ),
    Mutation(
        "sync-of-a-shared-folder-that-had-begun-before-counts",
        "services/engines/local/serving/shared_syncs.py",
        "wanted = folder.begun + 1",
        "wanted = max(folder.begun, 1)",
        ("tests/store/test_whole_uploads.py",),
    ),
    Mutation(
        "upload-that-was-given-up-is-committed",
        "services/engines/local/serving/upload.py",
        "        self._must_go_on()\n        draft, outgoing = self._draft, self._outgoing\n",
        "        draft, outgoing = self._draft, self._outgoing\n",
        ("tests/store/test_whole_uploads.py",),
    ),
]
