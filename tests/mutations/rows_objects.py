"""Breaks of the engine `objects`, and of `blobkeep copy`. Faults of the protocol itself are planted and found
by the model (tests/objects/test_planted_faults.py)."""

from __future__ import annotations

from tests.mutations.table import Mutation

_ENGINE = "services/engines/objects/"
_MODEL = "tests/objects/test_model.py"
_REQUESTS = "tests/objects/test_requests.py::test_"
_PROXY = "tests/objects/test_through_a_proxy.py::test_"
_KEPT = "tests/objects/test_quarantine.py::test_"
_HELD = "tests/objects/test_held.py::test_"
_DIRECT = "tests/objects/test_direct.py::test_"
_COPY = "tests/objects/test_copy.py::test_"
_COMPLETIONS = ("tests/objects/test_completions.py",)
_PARTS = "services/frontends/s3/parts_in_blobs.py"

ROWS = [
    Mutation(
        "completion-over-objects-that-nobody-remembers",
        _PARTS,
        "attempts=[*there.attempts, attempt]",
        "attempts=[]",
        _COMPLETIONS,
    ),
    Mutation(
        "completion-over-objects-beside-one-that-is-slow",
        _PARTS,
        "            await store.stop_attempts(location, there.attempts)\n",
        "",
        _COMPLETIONS,
    ),
    Mutation(
        "completion-over-objects-that-was-stopped",
        _ENGINE + "attempts.py",
        "        if _outcome(own, known) is Outcome.KILLED:\n",
        "        if False:\n",
        _COMPLETIONS,
    ),
    Mutation(
        "completion-over-objects-judged-before-its-past",
        _PARTS,
        "        await store.check_attempts(location, said.attempts)\n",
        "",
        _COMPLETIONS,
    ),
    Mutation(
        "completion-over-objects-after-its-abort",
        _PARTS,
        "await store.stop_attempts(location, said.attempts, in_doubt=True)",
        "await store.check_attempts(location, said.attempts)",
        _COMPLETIONS,
    ),
    Mutation(
        "completion-over-objects-that-begins-during-an-abort",
        _PARTS,
        "await store.delete(_record(location, upload_id), _only(version))",
        "await store.delete(_record(location, upload_id), unconditional)",
        _COMPLETIONS,
    ),
    Mutation(
        "completion-over-objects-with-other-parts",
        _PARTS,
        'if err.attempt.makes not in ("", makes):',
        "if False:",
        _COMPLETIONS,
    ),
    Mutation(
        "what-follows-an-answer-is-taken-for-the-next",
        _ENGINE + "connections.py",
        "self._answer(asked, answer, ends_here=here == length)",
        "self._answer(asked, answer, ends_here=True)",
        (_DIRECT + "a_connection_is_not_used_again_where_an_end_is_not_plain",),
    ),
    Mutation(
        "an-answer-without-an-etag-is-taken",
        _ENGINE + "direct.py",
        "    if not etag:\n        raise WrongStatus(",
        "    if etag is None:\n        raise WrongStatus(",
        (_DIRECT + "an_answer_without_an_etag_is_none",),
    ),
    Mutation(
        "a-part-that-lost-its-end-is-an-error-of-the-store",
        _ENGINE + "client.py",
        "if _status(err) != 416 or not (first or limit):",
        "if _status(err) != 418 or not (first or limit):",
        ("tests/objects/test_store.py::test_what_an_object_does_not_have_is_no_error_of_the_store",),
    ),
    Mutation(
        "a-long-answer-makes-the-next-wait",
        _ENGINE + "connections.py",
        "            self._await(1)\n",
        "",
        (_DIRECT + "a_short_answer_follows_a_long_one_that_came_slowly",),
    ),
    Mutation(
        "of-two-lengths-the-first-counts",
        _ENGINE + "connections.py",
        'lower.count(b"\\r\\ncontent-length") != 1',
        'lower.count(b"\\r\\ncontent-length") < 1',
        (_DIRECT + "a_connection_is_not_used_again_where_an_end_is_not_plain",),
    ),
    Mutation(
        "memory-that-is-being-sent-is-read-into",
        _ENGINE + "connections.py",
        "    except BufferError:\n        return False\n",
        "    except BufferError:\n        return True\n",
        (_DIRECT + "memory_is_used_again_when_nobody_refers_to_it",),
    ),
    Mutation(
        "the-gc-does-not-fence",
        _ENGINE + "collect.py",
        "            self.fences += is_ours\n            found = finding(entry, now)\n",
        "            found = Finding.KILLED\n",
        (_MODEL,),
    ),
    Mutation(
        "a-refused-swap-reads-no-pointer",
        _ENGINE + "commit.py",
        "                    now = await self._pointers.read(self._location)\n                match",
        "                    now = known\n                match",
        (_REQUESTS + "a_small_blob",),
    ),
    Mutation(
        "a-write-has-a-folder-of-its-own",
        _ENGINE + "keys.py",
        'return f"{DATA}{name_of(location)}{txn}-"',
        'return f"{DATA}{name_of(location)}{txn}/"',
        ("tests/objects/test_keys.py::test_no_write_has_a_folder_of_its_own",),
    ),
    Mutation(
        "names-of-ascii-are-cut-within-an-escape",
        _ENGINE + "keys.py",
        "return size + (stem[size - 1] in _FIRSTS) if",
        "return size if",
        ("tests/objects/test_keys.py::test_a_text_of_ascii_is_cut_as_any_other",),
    ),
    Mutation(
        "a-page-of-pointers-in-one-turn",
        _ENGINE + "listing.py",
        "_SLICE = 50  # pointers",
        "_SLICE = 5000  # pointers",
        ("tests/objects/test_turns.py::test_a_page_of_many_blobs",),
    ),
    Mutation(
        "the-gc-removes-the-first-part-alone",
        _ENGINE + "entry.py",
        "for part in range(entry.old_parts)]",
        "for part in range(1)]",
        (_REQUESTS + "a_large_blob",),
    ),
    Mutation(
        "wrong-credentials-look-like-an-unfit-store",
        _ENGINE + "self_test.py",
        "        await _answers(client, folder)\n",
        "",
        ("tests/objects/test_self_test.py::test_wrong_credentials_are_said_to_be_wrong",),
    ),
    Mutation(
        "all-parts-of-many-uploads-sent-at-once",
        _ENGINE + "upload.py",
        "        await self._owner.rooms.places.acquire()\n",
        "",
        ("tests/objects/test_many_uploads.py::test_parts_of_many_uploads_wait_for_their_turn",),
    ),
    Mutation(
        "the-place-of-a-part-is-never-free-again",
        _ENGINE + "upload.py",
        "        self._owner.rooms.places.release()\n",
        "",
        ("tests/objects/test_many_uploads.py",),
    ),
    Mutation(
        "uploads-without-room-read-on",
        _ENGINE + "part_rooms.py",
        "        await self._rooms.acquire()\n",
        "",
        ("tests/objects/test_many_uploads.py::test_uploads_without_room_read_no_more_of_their_bodies",),
    ),
    Mutation(
        "the-room-of-a-part-is-never-free-again",
        _ENGINE + "upload.py",
        "        room.leave()\n",
        "",
        ("tests/objects/test_many_uploads.py::test_uploads_without_room_read_no_more_of_their_bodies",),
    ),
    Mutation(
        "who-fills-a-part-slowly-keeps-others-from-reading",
        _ENGINE + "part_rooms.py",
        "call_later(patience_s, self.leave)",
        "call_later(3600.0, self.leave)",
        (
            "tests/objects/test_many_uploads.py::test_who_fills_a_part_slowly_does_not_keep_others_from_reading",
        ),
    ),
    Mutation(
        "restored-over-what-was-written-since",
        _ENGINE + "quarantine.py",
        " or known.pointer.txn != found.txn:\n",
        ":\n",
        (_KEPT + "what_was_written_or_deleted_since_is_not_undone",),
    ),
    Mutation(
        "restored-without-a-look-at-its-bytes",
        _ENGINE + "quarantine.py",
        "        async for _ in self._right_chunks(note, found.facts):\n            pass\n",
        "",
        (_KEPT + "what_is_not_whole_is_not_restored",),
    ),
    Mutation(
        "restored-elsewhere-over-what-came-meanwhile",
        _ENGINE + "quarantine.py",
        "location, _only_new, content",
        "location, lambda blob, damaged: None, content",
        (_KEPT + "a_restore_to_elsewhere_replaces_nothing_that_came_meanwhile",),
    ),
    Mutation(
        "dropped-with-the-bytes-of-what-is-served-again",
        _ENGINE + "quarantine.py",
        "if found.data_txn and (now.pointer is None or now.pointer.data_txn != name):",
        "if found.data_txn:",
        (_KEPT + "what_is_served_again_keeps_its_bytes_when_it_is_dropped",),
    ),
    Mutation(
        "a-drop-of-the-keeper-of-a-folder",
        _ENGINE + "quarantine.py",
        "await self._pointers.read_note(name) if txn.is_txn(name) else (pointer.ABSENT, 0)",
        "await self._pointers.read_note(name)",
        (_KEPT + "a_name_that_is_not_there_is_said_to_be_none",),
    ),
    Mutation(
        "a-damaged-blob-without-a-note-stays-so",
        _ENGINE + "verifier.py",
        "                    await damage.keep(self._tools, known.pointer)\n",
        "                    pass\n",
        (_KEPT + "a_round_makes_a_note_that_was_dropped_too_soon",),
    ),
    Mutation(
        "a-held-blob-comes-back-after-it-was-dropped",
        _ENGINE + "held.py",
        "        if self.find(location) is held:\n",
        "        if True:\n",
        (_HELD + "what_was_dropped_meanwhile_does_not_come_back",),
    ),
    Mutation(
        "a-held-blob-is-a-view-of-borrowed-memory",
        _ENGINE + "held.py",
        "known.etag, bytes(whole))",
        "known.etag, whole)",
        (_HELD + "a_view_of_borrowed_memory_is_copied",),
    ),
    Mutation(
        "an-unchanged-object-has-the-body-that-it-declares",
        _ENGINE + "connections.py",
        "        if status == 304:",
        "        if status == 3040:",
        (_DIRECT + "an_object_that_is_unchanged_has_no_body_whatever_length_it_declares",),
    ),
    Mutation(
        "that-another-object-is-unchanged-is-believed",
        _ENGINE + "direct.py",
        """if _etag(answer).strip('"') not in""",
        """if False and _etag(answer).strip('"') not in""",
        (_DIRECT + "that_another_object_is_unchanged_is_no_answer",),
    ),
    Mutation(
        "a-store-that-says-unchanged-of-all-is-believed",
        _ENGINE + "self_test.py",
        "client.tells_unchanged = is_right and",
        "client.tells_unchanged = True or is_right and",
        (
            "tests/objects/test_self_test.py::test_what_is_held_is_asked_for_only_where_the_answer_can_be_trusted",
        ),
    ),
    Mutation(
        "the-self-test-does-not-see-old-states-come-back",
        _ENGINE + "self_test.py",
        "        if got is None or got.data != state:\n",
        "        if got is None:\n",
        ("tests/objects/test_self_test.py::test_a_store_that_is_not_fit_is_refused",),
    ),
    Mutation(
        "what-has-expired-is-there-on-an-object-store",
        _ENGINE + "expiry.py",
        "        return None if self.is_over(blob) else blob\n",
        "        return blob\n",
        ("tests/objects/test_expiry.py",),
    ),
    Mutation(
        "a-read-waits-for-a-store-that-hangs",
        _ENGINE + "client.py",
        "        within_s = longest_s = self._read_s if kind in _READS else self._timeout_s\n",
        "        within_s = longest_s = self._timeout_s\n",
        ("tests/objects/test_direct.py",),
    ),
    Mutation(
        "what-was-written-anew-is-ended-for-what-had-expired",
        _ENGINE + "expiry.py",
        "        if known.blob is None or known.blob.version != blob.version:\n",
        "        if known.blob is None:\n",
        ("tests/objects/test_expiry.py",),
    ),
    Mutation(
        "the-self-test-does-not-look-at-what-a-range-gives",
        _ENGINE + "self_test.py",
        "        if part is None or part.data != body[1000:1100] or",
        "        if part is not None and",
        ("tests/objects/test_self_test.py::test_a_store_that_is_not_fit_is_refused",),
    ),
    Mutation(
        "damage-of-a-pointer-is-not-counted",
        _ENGINE + "verifier.py",
        "                self._count(NamedBlob(found.id, location, found.reason))\n",
        "",
        ("tests/objects/test_system.py::test_the_check_finds_damage_and_it_is_not_served",),
    ),
    Mutation(
        "a-plain-read-looks-before-it-opens",
        "services/frontends/native/opening.py",
        "            reading = await self._store.open(self._location)\n",
        "            await self._store.stat(self._location)\n"
        "            reading = await self._store.open(self._location)\n",
        (_PROXY + "a_create_of_up_to_a_mebibyte_is_one_request_to_the_store",),
    ),
    Mutation(
        "a-plain-upload-waits-for-a-look",
        "services/frontends/native/uploading.py",
        "self._content, size, waits=False",
        "self._content, size, waits=True",
        (_PROXY + "a_create_of_up_to_a_mebibyte_is_one_request_to_the_store",),
    ),
    Mutation(
        "a-read-looks-before-it-opens",
        "services/frontends/native/blobs.py",
        "            reading = await self.store.open(self.location)\n",
        "            await self.store.stat(self.location)\n"
        "            reading = await self.store.open(self.location)\n",
        (_PROXY + "a_create_of_up_to_a_mebibyte_is_one_request_to_the_store",),
    ),
    Mutation(
        "every-upload-waits-for-a-look",
        "services/frontends/native/blobs.py",
        'waits="Expect" in headers',
        "waits=True",
        (_PROXY + "a_create_of_up_to_a_mebibyte_is_one_request_to_the_store",),
    ),
    Mutation(
        "a-copy-keeps-what-was-deleted",
        "services/tools/copying.py",
        "            await self._target.delete(there.location, unconditional)\n",
        "",
        (_COPY + "what_was_deleted_does_not_come_back",),
    ),
    Mutation(
        "the-last-copy-of-a-served-directory",
        "services/tools/copy.py",
        "        if final:\n            raise",
        "        if False:\n            raise",
        (_COPY + "a_directory_moves_into_the_store_and_back_while_it_is_served",),
    ),
    Mutation(
        "a-copy-may-be-begun-over-others",
        "services/tools/copy.py",
        'if (await store.list("", "", "", 1)).blobs or (await store.list(RECORDS, "", "", 1)).blobs:',
        "if False:",
        (_COPY + "a_place_with_other_blobs_is_refused",),
    ),
]
