"""Breaks that the model, the crash ladder, the fault ladder or the fuzz must find alone."""

from __future__ import annotations

from tests.mutations.table import Mutation

MODEL = ("tests/model/test_store.py",)
CRASHES = ("tests/crashes/test_ladder.py",)
FAULTS = ("tests/faults/test_ladder.py",)
FAULTS_OF_PARTS = ("tests/faults/test_multiparts.py",)
DESCRIPTORS = ("tests/faults/test_no_descriptors.py",)
FUZZ = ("tests/fuzz/test_parsers.py",)

ROWS = [
    Mutation(
        "part-shown-before-its-line-is-written",
        "services/engines/local/serving/multiparts.py",
        "            await self._step(lambda: multipart_folder.append(",
        "            one.parts[placed.number] = placed\n"
        "            await self._step(lambda: multipart_folder.append(",
        FAULTS_OF_PARTS,
    ),
    Mutation(
        "part-that-failed-keeps-its-memory",
        "services/engines/local/serving/outgoing.py",
        "        async with self._turn:\n            self.give_back()\n",
        "        async with self._turn:\n            pass\n",
        FAULTS_OF_PARTS,
    ),
    Mutation(
        "gc-collects-what-is-pending",
        "services/engines/local/disk/keeping.py",
        "    if record.state is not State.FAILURE:\n",
        "    if record.state is State.COMPLETE:\n",
        MODEL,
    ),
    Mutation(
        "clock-that-goes-back-gives-lower-numbers",
        "services/engines/local/serving/ids.py",
        "self._last = max(self._last + 1, time.time_ns() // 1000)",
        "self._last = time.time_ns() // 1000",
        MODEL,
    ),
    Mutation(
        "deleted-location-stays-in-the-map",
        "services/engines/local/serving/index.py",
        "            del self._sorted[location]\n",
        "            pass\n",
        MODEL,
    ),
    Mutation(
        "old-blob-not-retired",
        "services/engines/local/serving/group_commit.py",
        "            for change in alive:\n                change.retire()\n",
        "",
        MODEL,
    ),
    Mutation(
        "old-blob-marked-before-the-new-one-is-there",
        "services/engines/local/serving/group_commit.py",
        '        alive = self._each(alive, Change.publish, "publish the blob")\n',
        '        alive = self._each(alive, Change.retire, "mark the old blob")\n'
        '        alive = self._each(alive, Change.publish, "publish the blob")\n',
        CRASHES,
    ),
    Mutation(
        "state-rewritten-in-place",
        "common/durable.py",
        '    temp = path + ".tmp"\n    write_file(temp, payload, synced=synced)\n',
        '    temp = path + ".tmp"\n    write_file(path, payload, synced=synced)\n    rename(path, temp)\n',
        CRASHES,
    ),
    Mutation(
        "acknowledged-before-it-is-published",
        "services/engines/local/serving/group_commit.py",
        "self._commit(batch)\n                self._loop.call_soon_threadsafe(_resolve, batch)\n",
        "self._loop.call_soon_threadsafe(_resolve, batch)\n                self._commit(batch)\n",
        CRASHES,
    ),
    Mutation(
        "interrupted-upload-left-pending",
        "services/engines/local/recovery/reconcile.py",
        "            self.to_failure(found.id, found.location, MSG_INTERRUPTED)\n",
        "            pass\n",
        (*MODEL, *CRASHES),
    ),
    Mutation(
        "no-second-look-at-the-maps",
        "services/engines/local/serving/store.py",
        "            if self.index.shows(blob):  # design rule 3\n",
        "            if True:\n",
        ("tests/store/test_local_store.py",),
    ),
    Mutation(
        "delete-does-not-use-the-reserve",
        "services/engines/local/serving/change.py",
        "            reserve.finding_room(self.data_dir, write)\n",
        "            write()\n",
        ("tests/faults/test_found.py", "tests/faults/test_real.py"),
    ),
    Mutation(
        "journal-that-cannot-be-read-gone-without",
        "services/engines/local/journal/format.py",
        '        raise StorageFailed(\n            f"The journal',
        '        return Scan(path)\n        raise StorageFailed(\n            f"The journal',
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "blob-quarantined-for-an-error-of-the-disk",
        "services/engines/local/journal/replay.py",
        "        if err.errno not in FOREIGN_ERRNOS | {",
        "        if err.errno not in FOREIGN_ERRNOS | DISK_ERRNOS | {",
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "old-value-lost-when-an-update-fails",
        "services/engines/local/serving/group_commit.py",
        "                change.undo(disk_error(err, doing))\n",
        "                change.retire()\n                change.undo(disk_error(err, doing))\n",
        FAULTS,
    ),
    Mutation(
        "failed-sync-told-to-nobody",
        "services/engines/local/serving/group_commit.py",
        "            self._loop.call_soon_threadsafe(self._on_fatal, err)\n",
        "            pass\n",
        FAULTS,
    ),
    Mutation(
        "folders-opened-once-all-is-visible",
        "services/engines/local/serving/group_commit.py",
        "        self._sync(durable.sync_open_folder, [change.new_folder_fd for change in alive])\n"
        "        parents = ",
        "        for change in alive:\n"
        "            if change.new is not None:\n"
        "                durable.sync_folder(self._data_dir.folder(change.new.id))\n"
        "        parents = ",
        DESCRIPTORS,
    ),
    Mutation(
        "release-opened-once-it-is-visible",
        "services/engines/local/disk/quarantine.py",
        '    durable.rename(path + ".tmp", path)\n    durable.sync_open_folder(folder_fd)\n',
        '    durable.rename(path + ".tmp", path)\n    durable.sync_folder(os.path.dirname(path))\n',
        DESCRIPTORS,
    ),
    Mutation(
        "refused-write-without-descriptors-keeps-its-id",
        "services/engines/local/disk/blob_folder.py",
        "        if err.errno not in SHORTAGE_ERRNOS:\n            raise\n",
        "        raise\n",
        DESCRIPTORS,
    ),
    Mutation(
        "what-was-given-up-stays-pending",
        "services/engines/local/serving/given_up.py",
        "        self._left[blob_id] = step\n",
        "",
        (f"{DESCRIPTORS[0]}::test_an_upload_that_was_given_up_is_ended_without_a_restart",),
    ),
    Mutation(
        "state-called-damaged-for-want-of-descriptors",
        "services/engines/local/serving/damage.py",
        "if not isinstance(err, OSError) or err.errno not in SHORTAGE_ERRNOS:",
        "if True:",
        DESCRIPTORS,
    ),
    Mutation(
        "short-writes-not-continued",
        "common/durable.py",
        "    while written < len(data):  # hardly ever\n        written += write_some(",
        "    while False:\n        written += write_some(",
        FAULTS,
    ),
    Mutation(
        "short-writes-of-data-not-continued",
        "services/engines/local/serving/data_writer.py",
        "        while done < len(piece):  # once",
        "        if done < len(piece):  # once",
        FAULTS,
    ),
    Mutation(
        "impossible-values-of-a-state-escape",
        "services/engines/local/disk/record.py",
        "    except Exception as err:\n",
        "    except (IndexError, KeyError, OverflowError) as err:\n",
        FUZZ,
    ),
    Mutation(
        "odd-percent-signs-escape",
        "services/rules/text.py",
        "        raise BadEscape\n",
        "        raise KeyError(raw)\n",
        FUZZ,
    ),
    Mutation(
        "numbers-of-any-length-are-computed",
        "services/rules/ranges.py",
        'int(digits or "0") if len(digits) <= MAX_DIGITS else 10**MAX_DIGITS',
        'int(digits or "0")',
        FUZZ,
    ),
]
