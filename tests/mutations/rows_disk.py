"""Breaks of what is on disk: records, the journal, recovery's decisions."""

from __future__ import annotations

from tests.mutations.table import Mutation

LENT = "tests/store/test_lent_pieces.py"

ROWS = [
    Mutation(
        "lent-memory-given-to-another-while-it-is-written",
        "services/engines/local/serving/outgoing.py",
        "        async with self._turn:\n            self.give_back()\n",
        "        self.give_back()\n",
        (LENT, "tests/store/test_lent_parts.py"),
    ),
    Mutation(
        "lent-memory-received-into-after-the-end",
        "services/engines/local/serving/lent_pieces.py",
        "None if self._is_over else ",
        "",
        (LENT,),
    ),
    Mutation(
        "piece-filled-again-before-it-is-written",
        "services/engines/local/serving/outgoing.py",
        "not behind.done() or behind.cancelled()",
        "behind.cancelled()",
        (LENT,),
    ),
    Mutation(
        "what-was-written-past-the-cache-is-written-again",
        "services/engines/local/serving/data_writer.py",
        "memoryview(piece)[done:] if done else piece",
        "piece",
        (LENT,),
    ),
    Mutation(
        "lower-layer-moves-the-note-last",
        "services/engines/local/disk/blob_folder.py",
        ", last=layout.STATE_NAME)",
        ", last=layout.NOTE_NAME)",
        ("tests/disk/test_lower_layer.py",),
    ),
    Mutation(
        "seal-not-checked",
        "services/engines/local/disk/record.py",
        'if content[at:] != _SEAL + b"%08x\\n" % checksum.crc(content[:at]):',
        "if False:",
        ("tests/unit/test_record.py",),
    ),
    Mutation(
        "location-line-unquoted",
        "services/engines/local/disk/record.py",
        'if location.isprintable() and \'"\' not in location and "\\\\" not in location:',
        "if True:",
        ("tests/unit/test_record.py::test_whatever_the_location_its_line_is_one_and_says_it",),
    ),
    Mutation(
        "history-of-elsewhere-unescaped",
        "services/engines/local/disk/record.py",
        "Transition(e.code, _printable(e.message), _printable(e.at)) for e in history",
        "Transition(e.code, e.message, e.at) for e in history",
        ("tests/unit/test_record.py::test_a_history_from_elsewhere_forges_no_line",),
    ),
    Mutation(
        "journal-record-not-crc-checked",
        "services/engines/local/journal/format.py",
        'if struct.unpack_from("<I", head, 4)[0] != crc(payload, crc(head[_PREFIX:], salt)):',
        "if False:",
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "failure-overwritten-by-replay",
        "services/engines/local/journal/replay.py",
        "found.seq == entry.seq and found.state is State.FAILURE and entry.alive:",
        "False:",
        ("tests/disk/test_journal.py",),
    ),
    Mutation(
        "settle-keeps-the-lower-number",
        "services/engines/local/recovery/reconcile.py",
        "(found, rival) if rank(found) > rank(rival)",
        "(found, rival) if rank(found) < rank(rival)",
        ("tests/disk/test_reconcile.py",),
    ),
    Mutation(
        "plain-record-not-crc-checked",
        "services/engines/local/recovery/scan.py",
        "content[-_SEAL_BYTES:] != _SEAL % crc32c(content[:-_SEAL_BYTES])",
        "len(content) < _SEAL_BYTES",
        ("tests/unit/test_scan.py",),
    ),
    Mutation(
        "any-record-is-plain-or-in-failure",
        "services/engines/local/recovery/scan.py",
        "return ours.seq if newest.startswith(_FAILURE) else None",
        "return ours.seq",
        ("tests/unit/test_scan.py",),
    ),
    Mutation(
        "plain-record-whose-data-is-not-looked-at",
        "services/engines/local/recovery/scan_slices.py",
        "data.st_size != blob.size or",
        "False or",
        ("tests/disk/test_reconcile.py",),
    ),
    Mutation(
        "readers-answers-not-looked-at",
        "services/engines/local/recovery/scan_pool.py",
        "blob.id != ids[at] or",
        "False or",
        ("tests/disk/test_scan_pool.py",),
    ),
    Mutation(
        "readers-left-behind",
        "services/engines/local/recovery/scan_pool.py",
        "        for reader in self._readers:\n            reader.end()\n",
        "",
        ("tests/disk/test_scan_pool.py",),
    ),
    Mutation(
        "hanging-readers-waited-for",
        "services/engines/local/recovery/scan_pool.py",
        "mine = self._begun if self._begun == number or self._may_begin() else number",
        "mine = self._begun",
        ("tests/disk/test_scan_pool.py",),
    ),
    Mutation(
        "read-only-directory-told-wrongly",
        "services/engines/local/recovery/reconcile.py",
        "        self.withhold_unplaced()\n",
        "",
        ("tests/process/test_read_only.py",),
    ),
    Mutation(
        "link-in-the-place-of-a-file-followed",
        "common/ours.py",
        "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK",
        "os.O_RDONLY | os.O_NONBLOCK",
        ("tests/disk/test_ours.py",),
    ),
    Mutation(
        "anything-in-the-place-of-a-file-opened",
        "common/ours.py",
        "        _must_be_plain(os.fstat(fd))\n",
        "        pass\n",
        ("tests/disk/test_ours.py",),
    ),
    Mutation(
        "pipe-in-the-place-of-a-file-waited-for",
        "common/ours.py",
        "os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC",
        "os.O_NOFOLLOW | os.O_CLOEXEC",
        ("tests/disk/test_ours.py",),
    ),
    Mutation(
        "gc-forgets-what-it-could-not-remove",
        "services/engines/local/upkeep/collector.py",
        "                    self._still_to_do.add(blob_id)\n",
        "",
        ("tests/disk/test_gc.py",),
    ),
]
