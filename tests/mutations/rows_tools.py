"""Breaks of the operator's tools, of progress, and of what is logged."""

from __future__ import annotations

from tests.mutations.table import Mutation

_BACKUP = "tests/process/test_tools_backup.py::test_"
_IMPORT = "tests/process/test_tools_import.py::test_"
_QUARANTINE = "tests/process/test_tools_quarantine.py::test_"
_TOOLS = "tests/process/test_tools.py::test_"

ROWS = [
    Mutation(
        "a-stream-numbers-blobs-without-an-id",
        "services/engines/local/upkeep/backup_writer.py",
        "        if number >> self._layout.id_bits:\n",
        "        if False:\n",
        ("tests/disk/test_backup_stream.py",),
    ),
    Mutation(
        "snapshot-looks-once",
        "services/engines/local/upkeep/snapshot.py",
        "        self._look_at_all([*again, *sorted(since)], began_at)\n",
        "",
        (_BACKUP + "an_update_that_began_before_the_snapshot_and_ends_within_it_is_met",),
    ),
    Mutation(
        "snapshot-without-what-was-replaced-meanwhile",
        "services/engines/local/upkeep/snapshot.py",
        "elif _was_live_at(blob, began_at):",
        "elif False:",
        (_BACKUP + "what_is_replaced_while_the_snapshot_is_taken_is_in_it",),
    ),
    Mutation(
        "snapshot-with-what-was-deleted-before",
        "services/engines/local/upkeep/snapshot.py",
        "return newest.at >= began_at and ended",
        "return ended",
        (_BACKUP + "an_export_unpacked_is_a_data_directory_with_ids_and_histories",),
    ),
    Mutation(
        "gc-does-not-yield-to-a-snapshot",
        "services/engines/local/upkeep/collector.py",
        "        if not self._hold.try_acquire():\n            return None",
        "        if not self._hold.try_acquire() and False:\n            return None",
        (_BACKUP + "the_gc_yields_while_a_snapshot_is_taken_and_the_lock_is_freed_by_death",),
    ),
    Mutation(
        "gc-gives-an-export-no-turn",
        "services/engines/local/upkeep/collector.py",
        "                    if not stop and self._is_wanted():",
        "                    if not stop and False:",
        (_BACKUP + "a_gc_whose_passes_follow_each_other_at_once_lets_an_export_begin",),
    ),
    Mutation(
        "gc-not-held-without-links",
        "services/engines/local/upkeep/snapshot.py",
        "        if snapshot.linked:\n            hold.release()",
        "        if True:\n            hold.release()",
        (_BACKUP + "without_hard_links_the_gc_waits_until_the_tar_is_written",),
    ),
    Mutation(
        "links-of-a-living-export-removed",
        "services/engines/local/upkeep/snapshot.py",
        "            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "",
        (_BACKUP + "what_a_killed_export_left_is_removed_by_the_next",),
    ),
    Mutation(
        "damaged-chunk-passes",
        "services/engines/local/upkeep/backup.py",
        "        if blob.crcs and checksum.crc(data) != checksum.unpack_crc(blob.crcs, chunk):",
        "        if False and checksum.crc(data) != checksum.unpack_crc(blob.crcs, chunk):",
        (
            _BACKUP + "a_damaged_blob_is_left_out_and_named",
            _IMPORT + "a_file_that_was_cut_short_or_changed_is_told",
        ),
    ),
    Mutation(
        "cut-export-taken-for-whole",
        "services/engines/local/upkeep/backup_reader.py",
        "        self.is_whole = False\n",
        "        self.is_whole = True\n",
        (_IMPORT + "a_file_that_was_cut_short_or_changed_is_told",),
    ),
    Mutation(
        "import-replaces-unasked",
        "services/tools/http_target.py",
        "        if not replace:\n            return PutOutcome.DIFFERS\n",
        "",
        (_IMPORT + "import_through_the_server_meets_what_is_there",),
    ),
    Mutation(
        "export-replaces-unasked",
        "services/tools/export.py",
        "elif os.path.lexists(path) and not args.force:",
        "elif False:",
        (_BACKUP + "an_existing_file_is_not_replaced_unasked",),
    ),
    Mutation(
        "export-of-nothing-unasked",
        "services/tools/export.py",
        "if note is not None and note.blobs:",
        "if False:",
        (_IMPORT + "an_export_of_nothing_is_an_error_where_the_one_before_had_some",),
    ),
    Mutation(
        "import-of-the-older-of-two",
        "services/engines/local/upkeep/backup_reader.py",
        "outdone.add(min(one, rival)[1])",
        "outdone.add(max(one, rival)[1])",
        (_IMPORT + "of_two_in_a_tar_the_one_that_a_start_would_serve_is_imported",),
    ),
    Mutation(
        "any-folder-is-a-data-directory",
        "services/engines/local/disk/directory.py",
        "        if not is_blobkeep(root):\n            raise ConfigError(",
        "        if False:\n            raise ConfigError(",
        (_IMPORT + "a_folder_that_is_no_data_directory_is_refused_and_left_alone",),
    ),
    Mutation(
        "cut-answer-taken-for-whole",
        "services/tools/http_target.py",
        'if tag_of(whole.digest()) != answer.headers.get("ETag"):',
        "if False:",
        ("tests/process/test_command.py::test_an_answer_that_is_cut_short_is_no_file",),
    ),
    Mutation(
        "restore-of-what-is-damaged",
        "services/engines/local/upkeep/quarantine.py",
        "        yield from verified(lambda n: os.read(fd, n), record)",
        "        yield os.read(fd, record.size)",
        (_QUARANTINE + "what_is_still_damaged_is_not_restored",),
    ),
    Mutation(
        "restore-undoes-a-delete",
        "services/tools/quarantine.py",
        "entry.note.released and not args.even_deleted:",
        "entry.note.released and False:",
        (_QUARANTINE + "what_was_deleted_since_is_not_brought_back_by_accident",),
    ),
    Mutation(
        "drop-without-asking",
        "services/tools/quarantine.py",
        "    if not args.yes:\n",
        "    if False:\n",
        (_QUARANTINE + "drop_asks_and_then_removes_for_good",),
    ),
    Mutation(
        "tools-write-what-is-not-printable",
        "services/tools/output.py",
        "isinstance(part, int) else one_line(part)",
        "isinstance(part, int) else part",
        (_TOOLS + "no_location_forges_a_line_of_a_tool_or_of_a_log",),
    ),
    Mutation(
        "colour-where-nobody-looks",
        "services/tools/output.py",
        'and not os.environ.get("NO_COLOR")',
        "",
        (_TOOLS + "history_is_in_colour_on_a_terminal_and_nowhere_else",),
    ),
    Mutation(
        "check-tells-nobody",
        "services/engines/local/upkeep/check.py",
        "if damage is not None and serving and not dry_run:",
        "if False:",
        (_TOOLS + "check_finds_rot_while_a_server_runs_and_the_server_acts",),
    ),
    Mutation(
        "check-settles-in-a-dry-run",
        "services/engines/local/upkeep/check.py",
        "reconcile(data_dir, dry_run=dry_run, progress=progress)",
        "reconcile(data_dir, progress=progress)",
        (_TOOLS + "check_without_a_server_settles_what_a_dead_one_left",),
    ),
    Mutation(
        "log-lines-through-the-bar",
        "common/progress.py",
        "            logs.divert(_Above(self._bar.console))\n",
        "",
        ("tests/unit/test_progress.py::test_on_a_terminal_it_is_a_bar_and_log_lines_stand_above_it",),
    ),
    Mutation(
        "bar-on-a-dumb-terminal",
        "common/progress.py",
        'not in (None, "", "dumb")',
        "is not None",
        ("tests/unit/test_progress.py::test_a_dumb_terminal_gets_no_bar",),
    ),
    Mutation(
        "transitions-not-logged",
        "services/watch/feed.py",
        "            if is_logged:\n                _log(blob, at)\n",
        "",
        ("tests/process/test_logged_transitions.py::test_with_debug_every_transition_is_a_line",),
    ),
    Mutation(
        "systemd-sockets-not-taken",
        "services/listening.py",
        'if os.environ.get("LISTEN_PID") != str(os.getpid()):',
        "if True:",
        ("tests/process/test_service_files.py::test_the_server_takes_the_sockets_that_systemd_passes_on",),
    ),
    Mutation(
        "no-sum-of-what-ended-while-it-was-exported",
        "services/engines/local/disk/blob_folder.py",
        'sha256=failure.sha256 if failure.size else b""',
        'sha256=b""',
        (_BACKUP + "without_hard_links_the_gc_waits_until_the_tar_is_written",),
    ),
]
