"""Breaks that a power cut, or a kill under load, must show: syncs, their order, the fences around them."""

from __future__ import annotations

from tests.mutations.table import Mutation

CUT = "tests/cuts/test_power_cuts.py::test_nothing_acknowledged_is_lost"
SMALL, STAGED, FOLDERS = f"{CUT}[small]", f"{CUT}[staged]", f"{CUT}[by_folders]"
TORTURE = "tests/torture/test_torture.py"

ROWS = [
    Mutation(
        "journal-not-synced",
        "common/journal_file.py",
        "(self._fd, records, self._end)\n            durable.sync_file(self._fd)\n",
        "(self._fd, records, self._end)\n",
        (SMALL,),
    ),
    Mutation(
        "acknowledged-before-the-commit",
        "services/local/committer.py",
        "                journaling.append(batch)\n",
        "                threading.Timer(0.02, journaling.append, (batch,)).start()\n",
        (SMALL,),
    ),
    Mutation(
        "journal-record-without-the-body",
        "services/local/changes.py",
        "bytes(self.draft.body) if self.draft.staged is None else None",
        "None",
        (SMALL,),
    ),
    Mutation("no-replay", "common/settle.py", "replay(where).max_seq", "0", (SMALL,)),
    Mutation(
        "journal-files-in-the-wrong-order",
        "common/journal.py",
        "sorted(scans, key=lambda found: found.epoch)",
        "sorted(scans, key=lambda found: -found.epoch)",
        (SMALL,),
    ),
    Mutation(
        "checkpoint-without-a-sync",
        "services/local/journaling.py",
        "file.checkpoint(lambda: durable.sync_file_system(self._root_fd))",
        "file.checkpoint(lambda: None)",
        (SMALL,),
    ),
    Mutation(
        "journal-turned-before-its-checkpoint-is-done",
        "common/journal_file.py",
        "        self._go(Phase.CHECKPOINTING)\n        try:\n            make_durable()\n",
        "        self._phase = Phase.CLEAN\n        return\n        try:\n            make_durable()\n",
        (SMALL,),
    ),
    Mutation(
        "gc-does-not-wait-for-the-replay",
        "services/gc.py",
        "if journal.needs_replay(self._where):",
        "if False:",
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "an-id-with-a-folder-is-taken",
        "common/blobdir.py",
        "    except FileExistsError:\n        return False\n",
        "    except FileExistsError:\n        return True\n",
        (SMALL,),
    ),
    Mutation(
        "gone-removed-before-it-is-gone-for-good",
        "services/gone.py",
        "            durable.sync_folder(parent)\n",
        "            pass\n",
        ("tests/disk/test_gc.py",),
    ),
    Mutation(
        "parent-not-synced",
        "services/local/committer.py",
        "self._sync(durable.sync_folder, {self._where.parent(c.new.id) for c in alive if c.new is not None})",
        "pass",
        (FOLDERS,),
    ),
    Mutation(
        "failure-not-synced",
        "services/local/committer.py",
        "            self._sync(durable.sync_open_folder, held)\n",
        "            pass\n",
        (FOLDERS,),
    ),
    Mutation(
        "old-folder-synced-by-its-name",
        "services/local/committer.py",
        "            held = [change.old_folder_fd for change in alive if change.old_folder_fd >= 0]\n"
        "            self._sync(durable.sync_open_folder, held)\n",
        "            held = [self._where.folder(c.failure.id) for c in alive if c.failure is not None]\n"
        "            self._sync(durable.sync_folder, held)\n",
        ("tests/store/test_local_store.py",),
    ),
    Mutation(
        "files-not-synced-before-their-names",
        "services/local/committer.py",
        "        self._sync(durable.sync_file, (fd for change in alive for fd in change.unsynced))\n",
        "",
        (FOLDERS,),
    ),
    Mutation(
        "staged-data-not-synced",
        "services/local/upload.py",
        "            durable.sync_file(fd)\n",
        "            pass\n",
        (STAGED,),
    ),
    Mutation(
        "judged-before-it-is-durable",
        "common/replay.py",
        "    durable.sync_file_system(root_fd)\n    for found",
        "    for found",
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "journal-of-a-dead-process-not-synced",
        "common/replay.py",
        "        journal.write_last_again(found)",
        "        pass",
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "note-not-synced-before-the-move",
        "common/blobdir.py",
        'durable.replace_durably(f"{folder}/{layout.NOTE_NAME}", msgspec.json.encode(note))',
        'durable.replace(f"{folder}/{layout.NOTE_NAME}", msgspec.json.encode(note), synced=True)',
        ("tests/disk/test_settle.py",),
    ),
    Mutation(
        "data-without-a-state-left",
        "common/blobdir.py",
        "        durable.remove_file(where.data(blob_id))\n",
        "        pass\n",
        ("tests/disk/test_settle.py",),
    ),
    Mutation(
        "aborted-state-not-synced",
        "services/local/upload.py",
        "blobdir.write_failure(where, failure)  # synced",
        "blobdir.write_failure(where, failure, synced=False)  # synced",
        ("tests/store/test_local_store.py",),
    ),
    Mutation(
        "old-failure-with-a-higher-number-wins",
        "common/replay.py",
        " and not (entry.alive and found.state is State.FAILURE)",
        "",
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "numbers-in-the-journal-forgotten",
        "common/replay.py",
        "max((entry.seq for entry in last.values()), default=0)",
        "0",
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "delete-of-a-folder-removed-by-hand-not-in-the-journal",
        "services/local/changes.py",
        "            entries.append(self._removed)\n",
        "            pass\n",
        ("tests/store/test_local_store.py",),
    ),
    Mutation(
        "condition-not-judged-in-its-turn",
        "services/local/store.py",
        "            condition(old, damaged is not None)\n",
        "",
        (TORTURE,),
    ),
    Mutation(
        "writes-of-a-location-overtake-each-other",
        "services/local/store.py",
        "        async with self._orders.of(location):\n            old: Blob",
        "        if True:\n            old: Blob",
        (TORTURE,),
    ),
    Mutation(
        "a-reader-does-not-look-again",
        "services/local/store.py",
        "if self._maps.by_location.get(location) is blob:  # design rule 3",
        "if True:",
        ("tests/store/test_local_store.py",),
    ),
]
