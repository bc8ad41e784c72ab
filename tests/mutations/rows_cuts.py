"""Breaks that a power cut or a kill under load must show: syncs, their order, and what they wait for."""

from __future__ import annotations

from tests.mutations.table import Mutation

CUT = "tests/cuts/test_power_cuts.py::test_nothing_acknowledged_is_lost"
SMALL, STAGED, FOLDERS = f"{CUT}[small]", f"{CUT}[staged]", f"{CUT}[by_folders]"
TORTURE = "tests/torture/test_torture.py"

ROWS = [
    Mutation(
        "journal-not-synced",
        "services/engines/local/journal/record_writer.py",
        "at - begun_bytes)\n            durable.sync_file(self._fd)\n",
        "at - begun_bytes)\n",
        (SMALL,),
    ),
    Mutation(
        "acknowledged-before-the-commit",
        "services/engines/local/serving/group_commit.py",
        "                journaling.append(batch)\n",
        "                threading.Timer(0.02, journaling.append, (batch,)).start()\n",
        (SMALL,),
    ),
    Mutation(
        "journal-record-without-the-body",
        "services/engines/local/serving/change.py",
        "bytes(self.draft.body) if self.draft.staged is None else None",
        "None",
        (SMALL,),
    ),
    Mutation(
        "no-replay", "services/engines/local/recovery/reconcile.py", "replay(data_dir).max_seq", "0", (SMALL,)
    ),
    Mutation(
        "journal-files-in-the-wrong-order",
        "services/engines/local/journal/format.py",
        "sorted(scans, key=lambda found: found.epoch)",
        "sorted(scans, key=lambda found: -found.epoch)",
        ("tests/disk/test_journal.py::test_the_newer_file_is_replayed_last",),
    ),
    Mutation(
        "checkpoint-without-a-sync",
        "services/engines/local/journal/writer.py",
        "file.checkpoint(lambda: self._sync_all(file.epoch))",
        "file.checkpoint(lambda: None)",
        (SMALL,),
    ),
    Mutation(
        "journal-turned-before-its-checkpoint-is-done",
        "services/engines/local/journal/file.py",
        "        self._go(FilePhase.CHECKPOINTING)\n        try:\n            make_durable()\n",
        "        self._phase = FilePhase.CLEAN\n        return\n        try:\n            make_durable()\n",
        (SMALL,),
    ),
    Mutation(
        "safety-traded-before-the-replay",
        "services/engines/local/engine.py",
        "        found, writer = await asyncio.to_thread(self._recover, progress)\n",
        "        if self._config.sync == 'none':\n"
        "            durable.trade_safety_for_speed()\n"
        "        found, writer = await asyncio.to_thread(self._recover, progress)\n",
        (f"{CUT}[traded]",),
    ),
    Mutation(
        "gc-does-not-wait-for-the-replay",
        "services/engines/local/upkeep/collector.py",
        "if journal.needs_replay(self._data_dir):",
        "if False:",
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "an-id-with-a-folder-is-taken",
        "services/engines/local/disk/blob_folder.py",
        "    except FileExistsError:\n        return False\n",
        "    except FileExistsError:\n        return True\n",
        (SMALL,),
    ),
    Mutation(
        "gone-removed-before-it-is-gone-for-good",
        "services/engines/local/upkeep/trash.py",
        "            durable.sync_folder(parent)\n",
        "            pass\n",
        ("tests/disk/test_gc.py",),
    ),
    Mutation(
        "parent-not-synced",
        "services/engines/local/serving/group_commit.py",
        "        self._sync(durable.sync_open_folder, list(parents.values()))\n",
        "",
        (FOLDERS,),
    ),
    Mutation(
        "failure-not-synced",
        "services/engines/local/serving/group_commit.py",
        "        self._sync(durable.sync_open_folder, [change.old_folder_fd for change in alive])\n",
        "",
        (FOLDERS,),
    ),
    Mutation(
        "old-folder-synced-by-its-name",
        "services/engines/local/serving/group_commit.py",
        "        self._sync(durable.sync_open_folder, [change.old_folder_fd for change in alive])\n",
        "        held = [self._data_dir.folder(c.failure.id) for c in alive if c.failure is not None]\n"
        "        self._sync(durable.sync_file, [durable.open_folder(path) for path in held])\n",
        ("tests/store/test_local_store.py",),
    ),
    Mutation(
        "files-not-synced-before-their-names",
        "services/engines/local/serving/group_commit.py",
        "        self._sync(durable.sync_file, [fd for change in alive for fd in change.unsynced])\n",
        "",
        (FOLDERS,),
    ),
    Mutation(
        "staged-data-not-synced",
        "services/engines/local/serving/upload.py",
        "            durable.sync_file(fd)\n",
        "            pass\n",
        (STAGED,),
    ),
    Mutation(
        "judged-before-it-is-durable",
        "services/engines/local/journal/replay.py",
        "    durable.sync_file_system(root_fd)\n    for found",
        "    for found",
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "journal-of-a-dead-process-not-synced",
        "services/engines/local/journal/replay.py",
        "        journal.write_last_again(found)",
        "        pass",
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "note-not-synced-before-the-move",
        "services/engines/local/disk/quarantine.py",
        'durable.replace_durably(f"{path}/{layout.NOTE_NAME}", msgspec.json.encode(note))',
        'durable.replace(f"{path}/{layout.NOTE_NAME}", msgspec.json.encode(note), synced=True)',
        ("tests/disk/test_reconcile.py",),
    ),
    Mutation(
        "data-without-a-state-left",
        "services/engines/local/disk/blob_folder.py",
        "        durable.remove_file(data_dir.data(blob_id))\n",
        "        pass\n",
        ("tests/disk/test_reconcile.py",),
    ),
    Mutation(
        "aborted-state-not-synced",
        "services/engines/local/serving/given_up.py",
        "blob_folder.write_failure(data_dir, failure)  # synced",
        "blob_folder.write_failure(data_dir, failure, synced=False)  # synced",
        ("tests/store/test_local_store.py",),
    ),
    Mutation(
        "old-failure-with-a-higher-number-wins",
        "services/engines/local/journal/replay.py",
        " and not (entry.alive and found.state is State.FAILURE)",
        "",
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "numbers-in-the-journal-forgotten",
        "services/engines/local/journal/replay.py",
        "max((entry.seq for entry in last.values()), default=0)",
        "0",
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "delete-of-a-folder-removed-by-hand-not-in-the-journal",
        "services/engines/local/serving/change.py",
        "            entries.append(self._removed)\n",
        "            pass\n",
        ("tests/store/test_local_store.py",),
    ),
    Mutation(
        "condition-not-judged-in-its-turn",
        "services/engines/local/serving/store.py",
        "            condition(seen, damaged is not None)\n",
        "",
        (TORTURE,),
    ),
    Mutation(
        "writes-of-a-location-overtake-each-other",
        "services/engines/local/serving/store.py",
        "turn = locks.of(location) if source is None",
        "turn = locks.of(repr(object())) if source is None",
        (TORTURE,),
    ),
    Mutation(
        "a-reader-does-not-look-again",
        "services/engines/local/serving/store.py",
        "if self.index.shows(blob):  # design rule 3",
        "if True:",
        ("tests/store/test_local_store.py",),
    ),
]
