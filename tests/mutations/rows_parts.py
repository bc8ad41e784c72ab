"""Breaks of uploads in parts in the local engine."""

from __future__ import annotations

from tests.mutations.table import Mutation

PARTS = "tests/store/test_multiparts.py"
UNENDED = "tests/store/test_unended_multiparts.py"
CRASHES = "tests/crashes/test_multiparts.py"
LENT = ("tests/store/test_lent_parts.py",)
TURNS = ("tests/store/test_hash_turns.py",)
JOINED = ("tests/store/test_joined_hash.py",)

ROWS = [
    Mutation(
        "blob-goes-before-an-upload-that-could-not-be-ended",
        "services/engines/local/serving/damage.py",
        "                step()\n",
        "                pass\n",
        (f"{UNENDED}::test_the_blob_stays_until_an_upload_that_could_not_be_ended_is",),
    ),
    Mutation(
        "start-forgets-an-upload-that-it-could-not-end",
        "services/engines/local/recovery/multiparts.py",
        "            found.unended.append(upload)\n",
        "",
        ("tests/store/test_unended_multiparts.py",),
    ),
    Mutation(
        "sweep-ends-an-upload-behind-the-back-of-what-waits-for-it",
        "services/engines/local/serving/multiparts.py",
        "self._owner.damage.settle(upload.location)",
        "self._step(lambda: multipart_folder.end(self._data_dir, upload.id))",
        ("tests/store/test_unended_multiparts.py",),
    ),
    Mutation(
        "completed-upload-ended-without-the-lock",
        "services/engines/local/serving/multiparts.py",
        "return await upload.commit(said, lambda: self._end_completed(one))",
        "done = await upload.commit(said)\n"
        "            await self._end_completed(one)\n"
        "            return done",
        (UNENDED,),
    ),
    Mutation(
        "part-answered-before-its-bytes-are-durable",
        "services/engines/local/serving/part_upload.py",
        "            durable.sync_file(fd)\n",
        "            pass\n",
        ("tests/cuts/test_acknowledged.py",),
    ),
    Mutation(
        "part-written-counts-as-synced",
        "services/engines/local/serving/outgoing.py",
        "            self._is_synced = sync\n",
        "            self._is_synced = True\n",
        ("tests/store/test_part_pieces.py",),
    ),
    Mutation(
        "part-synced-before-all-of-it-came",
        "services/engines/local/serving/part_upload.py",
        "sync=self._outgoing.is_whole",
        "sync=True",
        ("tests/store/test_part_pieces.py",),
    ),
    Mutation(
        "last-piece-left-in-memory",
        "services/engines/local/serving/outgoing.py",
        "not self._held and (self._is_synced or not sync)",
        "(self._is_synced or not sync)",
        ("tests/store/test_part_pieces.py", "tests/store/test_lent_parts.py"),
    ),
    Mutation(
        "part-answered-before-its-file-has-a-name",
        "services/engines/local/serving/part_upload.py",
        "            durable.sync_folder(os.path.dirname(self._path))\n",
        "            pass\n",
        ("tests/cuts/test_acknowledged.py",),
    ),
    Mutation(
        "upload-answered-before-its-record-is-durable",
        "services/engines/local/disk/multipart_folder.py",
        "_sealed(msgspec.json.encode(begun)), synced=True)",
        "_sealed(msgspec.json.encode(begun)), synced=False)",
        ("tests/cuts/test_acknowledged.py",),
    ),
    Mutation(
        "upload-answered-before-its-record-has-a-name",
        "services/engines/local/disk/multipart_folder.py",
        "        durable.sync_folder(path)\n        durable.sync_folder(home(data_dir))\n",
        "        durable.sync_folder(home(data_dir))\n",
        ("tests/cuts/test_acknowledged.py",),
    ),
    Mutation(
        "upload-answered-before-its-folder-has-a-name",
        "services/engines/local/disk/multipart_folder.py",
        "        durable.sync_folder(path)\n        durable.sync_folder(home(data_dir))\n",
        "        durable.sync_folder(path)\n",
        ("tests/cuts/test_acknowledged.py",),
    ),
    Mutation(
        "part-answered-before-its-line-is-durable",
        "services/engines/local/disk/multipart_folder.py",
        "        durable.sync_file(fd)\n",
        "        pass\n",
        ("tests/cuts/test_acknowledged.py",),
    ),
    Mutation(
        "abort-answered-before-it-is-durable",
        "services/engines/local/disk/multipart_folder.py",
        "            durable.sync_open_folder(folder_fd)\n",
        "            pass\n",
        ("tests/cuts/test_acknowledged.py",),
    ),
    Mutation(
        "part-answered-without-its-line",
        "services/engines/local/serving/multiparts.py",
        "self._step(lambda: multipart_folder.append(self._data_dir, one.upload.id, placed))",
        "asyncio.sleep(0)",
        (f"{PARTS}::test_what_was_answered_for_is_there_after_a_restart",),
    ),
    Mutation(
        "part-sent-again-over-the-first",
        "services/engines/local/serving/open_multipart.py",
        "size <= self.slot_bytes and number not in self.used",
        "size <= self.slot_bytes",
        (f"{PARTS}::test_who_still_writes_when_it_completes_changes_nothing_any_more",),
    ),
    Mutation(
        "part-written-into-the-file-of-a-blob",
        "services/engines/local/serving/open_multipart.py",
        "        if not fits or not self.may_write_in_place:\n",
        "        if not fits:\n",
        (f"{PARTS}::test_the_file_of_a_blob_is_written_by_no_upload_that_came_back",),
    ),
    Mutation(
        "file-of-a-blob-cut-by-an-upload",
        "services/engines/local/serving/joining.py",
        "            if found.st_nlink > 1:",
        "            if False:",
        (f"{PARTS}::test_the_file_of_a_blob_is_not_cut_by_an_upload_that_came_back",),
    ),
    Mutation(
        "line-of-a-part-that-was-given-up-counts",
        "services/engines/local/disk/multipart_folder.py",
        '            if placed.is_in_place or os.path.lexists(f"{path}/{placed.file}"):\n',
        "            if True:\n",
        (f"{PARTS}::test_a_part_that_could_not_be_remembered_leaves_the_one_before",),
    ),
    Mutation(
        "part-that-waits-is-cut-off",
        "services/engines/local/serving/multiparts.py",
        " and not _is_behind(named, one.writers):",
        ":",
        (f"{PARTS}::test_a_part_that_waits_for_a_completion_that_fails_is_whole",),
    ),
    Mutation(
        "parts-not-verified",
        "services/engines/local/serving/joined_hash.py",
        "            if got != len(data) or checksum.crc(data) != wanted:",
        "            if False:",
        (f"{PARTS}::test_a_part_that_rotted_is_found_before_it_is_acknowledged_as_a_blob[3]",),
    ),
    Mutation(
        "hash-of-a-part-that-is-not-the-next",
        "services/engines/local/serving/joined_hash.py",
        "self._sha256.copy() if self.awaits(number) else None",
        "self._sha256.copy()",
        JOINED,
    ),
    Mutation(
        "hash-with-a-part-that-was-given-up",
        "services/engines/local/serving/joined_hash.py",
        "self._sha256.copy() if self.awaits(number) else None",
        "self._sha256 if self.awaits(number) else None",
        JOINED,
    ),
    Mutation(
        "memory-is-given-back-while-it-is-hashed",
        "services/engines/local/serving/data_writer.py",
        "                other.result()\n",
        "                pass\n",
        ("tests/store/test_data_writer.py",),
    ),
    Mutation(
        "hash-that-no-thread-was-free-for",
        "services/engines/local/serving/data_writer.py",
        "                last.update(piece)\n",
        "                pass\n",
        ("tests/store/test_data_writer.py",),
    ),
    Mutation(
        "hash-that-followed-other-bytes",
        "services/engines/local/serving/joined_hash.py",
        "        if offered is not None and offered[1] == self.sha256():\n",
        "        if offered is not None:\n",
        TURNS,
    ),
    Mutation(
        "hash-that-the-part-before-has-too",
        "services/engines/local/serving/hash_turns.py",
        "return last[1].copy() if",
        "return last[1] if",
        TURNS,
    ),
    Mutation(
        "complete-upload-open-again-after-a-crash",
        "services/engines/local/recovery/multiparts.py",
        "        if blob is None or blob.metadata.get(UPLOAD_ID) != upload.id:",
        "        if True:",
        (CRASHES,),
    ),
    Mutation(
        "parts-removed-before-the-commit",
        "services/engines/local/serving/multiparts.py",
        "return await upload.commit(said, lambda: self._end_completed(one))",
        "await self._end(one)\n            return await upload.commit(said)",
        (CRASHES,),
    ),
    Mutation(
        "part-that-was-sent-again-dropped-for-the-damaged-one",
        "services/engines/local/serving/multiparts.py",
        "if one.parts.get(part.number) == part:",
        "if part.number in one.parts:",
        ("tests/store/test_joined_hash.py",),
    ),
    Mutation(
        "late-part-written-behind-the-blob",
        "services/engines/local/serving/part_upload.py",
        "        await self._quiet.wait()\n",
        "",
        (f"{PARTS}::test_a_part_whose_last_bytes_are_on_their_way_is_waited_for",),
    ),
    Mutation(
        "part-without-the-bytes-in-its-memory",
        "services/engines/local/serving/part_upload.py",
        "        self._committing = True\n        self._outgoing.take_lent()\n",
        "        self._committing = True\n",
        LENT,
    ),
    Mutation(
        "a-part-waits-however-long-its-upload-is-read",
        "services/engines/local/serving/hash_turns.py",
        "(_MOST_S if order.is_busy() else _BEGIN_S)",
        "(600 if order.is_busy() else _BEGIN_S)",
        ("tests/store/test_hash_turns.py",),
    ),
    Mutation(
        "a-part-waits-for-the-reading-of-other-uploads",
        "services/engines/local/serving/multiparts.py",
        "            async with self._followers:\n                one.order.reads(True)\n",
        "            one.order.reads(True)\n            async with self._followers:\n",
        ("tests/store/test_hash_turns.py",),
    ),
    Mutation(
        "a-part-that-cannot-be-given-up-is-waited-for",
        "services/engines/local/serving/part_upload.py",
        "        finally:  # also without memory",
        "        except BlobkeepError:  # also without memory",
        (
            "tests/store/test_lent_parts.py::test_a_part_that_cannot_even_be_given_up_keeps_no_upload_from_its_end",
        ),
    ),
]
