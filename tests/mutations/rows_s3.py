"""Breaks of what S3 and restic add: uploads in parts, links, copies."""

from __future__ import annotations

from tests.mutations.table import Mutation

PARTS = "tests/store/test_multiparts.py"
CRASHES = "tests/crashes/test_multiparts.py"

ROWS = [
    Mutation(
        "part-answered-without-its-line",
        "services/engines/local/serving/multiparts.py",
        "self._step(lambda: multipart_folder.append(self._data_dir, one.upload.id, placed))",
        "asyncio.sleep(0)",
        (f"{PARTS}::test_what_was_answered_for_is_there_after_a_restart",),
    ),
    Mutation(
        "part-sent-again-over-the-first",
        "services/engines/local/serving/multiparts.py",
        "size > one.slot_bytes or number in one.used",
        "size > one.slot_bytes",
        (f"{PARTS}::test_who_still_writes_when_it_completes_changes_nothing_any_more",),
    ),
    Mutation(
        "parts-not-verified",
        "services/engines/local/serving/joined_hash.py",
        "            if len(data) != length or checksum",
        "            if False and checksum",
        (f"{PARTS}::test_a_part_that_rotted_is_found_before_it_is_acknowledged_as_a_blob[3]",),
    ),
    Mutation(
        "complete-upload-open-again-after-a-crash",
        "services/engines/local/serving/multiparts.py",
        "blob.metadata.get(UPLOAD_ID) == upload.id:",
        "False:",
        (CRASHES,),
    ),
    Mutation(
        "parts-removed-before-the-commit",
        "services/engines/local/serving/multiparts.py",
        "            done = await upload.commit(said)\n            await self._end(one)\n",
        "            await self._end(one)\n            done = await upload.commit(said)\n",
        (CRASHES,),
    ),
    Mutation(
        "late-part-written-behind-the-blob",
        "services/engines/local/serving/part_upload.py",
        "        await self._quiet.wait()\n",
        "",
        (f"{PARTS}::test_a_part_whose_last_bytes_are_on_their_way_is_waited_for",),
    ),
    Mutation(
        "move-in-two-records",
        "services/engines/local/serving/group_commit.py",
        "change.entries() for change in alive if change.after is None",
        "change.entries()[:1] for change in alive",
        ("tests/crashes/test_copies.py",),
    ),
    Mutation(
        "source-deleted-though-the-copy-failed",
        "services/engines/local/serving/change.py",
        "            return self.after.error\n",
        "            return None\n",
        ("tests/store/test_copies.py",),
    ),
    Mutation(
        "source-moved-though-it-was-written-meanwhile",
        "services/engines/local/serving/store.py",
        "            if self._index.by_location.get(source.location) is not source:\n",
        "            if False:\n",
        ("tests/store/test_copies.py",),
    ),
    Mutation(
        "digest-behind-the-body-not-checked",
        "services/frontends/digests.py",
        "        promised = [*self._promised.items(), *expected_digests(behind).items()]\n",
        "        promised = [*self._promised.items()]\n",
        ("tests/http/test_digests.py",),
    ),
    Mutation(
        "moved-without-the-right-to-delete",
        "services/frontends/native/blobs.py",
        "            if self._order.move:\n",
        "            if False:\n",
        ("tests/http/test_copies.py::test_both_sides_must_be_the_clients",),
    ),
    Mutation(
        "copied-without-the-right-to-read",
        "services/frontends/native/blobs.py",
        "            self.client.check(Action.READ, self._order.source)\n",
        "",
        ("tests/http/test_copies.py::test_both_sides_must_be_the_clients",),
    ),
]
