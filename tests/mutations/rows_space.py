"""Breaks of deletes on a full disk, and of making and removing folders."""

from __future__ import annotations

from tests.mutations.table import Mutation

ROOM = ("tests/faults/test_room.py",)

ROWS = [
    Mutation(
        "a-body-that-found-no-room-counts-as-written",
        "services/engines/local/serving/outgoing.py",
        "                if self.is_open and not was_open:\n",
        "                if not was_open:\n",
        ("tests/store/test_whole_uploads.py",),
    ),
    Mutation(
        "reserve-not-made-again",
        "services/engines/local/serving/regular_checks.py",
        "            reserve.keep(store.data_dir)\n",
        "            pass\n",
        ROOM,
    ),
    Mutation(
        "inodes-do-not-count",
        "services/engines/local/serving/free_space.py",
        "        if self._left_inodes < inodes:\n",
        "        if False:\n",
        ROOM,
    ),
    Mutation(
        "folder-of-the-gc-not-made-at-the-start",
        "services/engines/local/disk/layout.py",
        "FIXED_FOLDERS = (GONE_NAME, QUARANTINE_NAME, STATUS_NAME)",
        "FIXED_FOLDERS = (STATUS_NAME,)",
        ROOM,
    ),
    Mutation(
        "delete-keeps-its-inode",
        "services/engines/local/serving/change.py",
        "            if self.leaves_nothing:\n",
        "            if False:\n",
        ROOM,
    ),
    Mutation(
        "failed-upload-uses-up-the-reserve",
        "services/engines/local/serving/given_up.py",
        "        blob_folder.write_failure(data_dir, failure)  # synced",
        "        write = blob_folder.write_failure\n"
        "        blob_folder.reserve.finding_room(data_dir, lambda: write(data_dir, failure))  # synced",
        ROOM,
    ),
    Mutation(
        "failed-upload-keeps-its-data-on-a-full-disk",
        "services/engines/local/serving/given_up.py",
        "            durable.remove_file(data_dir.data(failure.id))\n",
        "            pass\n",
        ROOM,
    ),
    Mutation(
        "every-write-lists-the-directory",
        "services/engines/local/serving/ids.py",
        "            self._no_look_before = now + _REST * (now - began)\n",
        "",
        ("tests/unit/test_ids.py",),
    ),
    Mutation(
        "committer-keeps-a-failed-start-alive",
        "services/engines/local/serving/group_commit.py",
        'name="committer", daemon=True)',
        'name="committer")',
        ("tests/process/test_failing_start.py",),
    ),
    Mutation(
        "link-in-the-place-of-a-folder-emptied",
        "common/durable.py",
        "    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW",
        "    return os.open(name, os.O_RDONLY | os.O_DIRECTORY",
        ("tests/disk/test_remove_tree.py",),
    ),
    Mutation(
        "journal-of-a-directory-that-was-replaced-marked-clean",
        "services/engines/local/journal/writer.py",
        "        if not leads_to(self._data_dir.root, self._root_fd):\n            raise",
        "        if False:\n            raise",
        ("tests/process/test_missing_disk.py",),
    ),
    Mutation(
        "write-into-a-directory-that-was-replaced-acknowledged",
        "services/engines/local/serving/group_commit.py",
        "        if fault := self._place.look():",
        '        if fault := "":',
        ("tests/process/test_missing_disk.py",),
    ),
]
