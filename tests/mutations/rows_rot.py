"""Breaks of the guards against corrupt or foreign data: it must not be sent, followed, waited for, or
ignored.
"""

from __future__ import annotations

from tests.mutations.table import Mutation

BYTES = "tests/rot/test_bytes.py"
PLACES = "tests/rot/test_places.py"

READ_ERRORS = "tests/faults/test_read_errors.py"
LOCAL = "services/engines/local"
RECORDS = ("tests/rot/test_records.py", "tests/rot/test_originals.py")
SEALED = "tests/store/test_sealed_chunks.py"

ROWS = [
    Mutation(
        "complete-is-told-by-a-message",
        f"{LOCAL}/disk/record.py",
        "if newest.message == MSG_COMPLETE or (len(events) > 1 and events[-2].code == _PENDING):",
        "if newest.message == MSG_COMPLETE:",
        RECORDS,
    ),
    Mutation(
        "what-cannot-be-judged-was-only-created",
        f"{LOCAL}/disk/record.py",
        '    raise ValueError("its log does not tell whether it was ever complete")\n',
        "    return State.CREATED\n",
        RECORDS,
    ),
    Mutation(
        "history-and-log-need-not-agree",
        f"{LOCAL}/disk/record.py",
        "    if told is not None and told[1].decode() != word:\n",
        "    if False:\n",
        RECORDS,
    ),
    Mutation(
        "times-that-cannot-be-held-are-not-clamped",
        f"{LOCAL}/disk/record.py",
        "return min(max(unix_ns(at), 0), (1 << 63) - 1)",
        "return unix_ns(at)",
        RECORDS,
    ),
    Mutation(
        "a-record-that-is-nested-deep-stops-the-start",
        f"{LOCAL}/disk/record.py",
        "    except RecursionError as err:\n        raise CorruptRecord(",
        "    except RecursionError as err:\n        raise SystemExit(",
        RECORDS,
    ),
    Mutation(
        "numbers-follow-the-impossible",
        f"{LOCAL}/disk/record_json.py",
        "MAX_PLAUSIBLE_SEQ = 1 << 62",
        "MAX_PLAUSIBLE_SEQ = 1 << 64",
        RECORDS,
    ),
    Mutation(
        "torn-data-takes-the-place-of-damaged-data",
        f"{LOCAL}/disk/blob_folder.py",
        "        if found.st_size != size or",
        "        if",
        RECORDS,
    ),
    Mutation(
        "types-of-records-are-not-looked-at",
        f"{LOCAL}/disk/header_text.py",
        "intern(text if _FIELD.fullmatch(text) else self._default)",
        "intern(text)",
        RECORDS,
    ),
    Mutation(
        "a-sparse-terabyte-holds-up-the-start",
        f"{LOCAL}/recovery/reconcile.py",
        "        if size > self.adopt_bytes:\n",
        "        if size > 1 << 62:\n",
        RECORDS,
    ),
    Mutation(
        "an-io-error-is-rot",
        f"{LOCAL}/disk/blob_folder.py",
        "        if err.errno not in FOREIGN_ERRNOS:\n            raise\n        raise CorruptRecord(",
        "        if isinstance(err, FileNotFoundError):\n            raise\n        raise CorruptRecord(",
        (READ_ERRORS,),
    ),
    Mutation(
        "unknown-locations-are-404-while-a-state-cannot-be-read",
        f"{LOCAL}/serving/index.py",
        "        if self.unreadable:\n",
        "        if False:\n",
        (READ_ERRORS,),
    ),
    Mutation(
        "an-io-error-while-serving-is-a-short-file",
        f"{LOCAL}/serving/reading.py",
        "            if err.errno not in FOREIGN_ERRNOS:\n                raise\n",
        "",
        (READ_ERRORS,),
    ),
    Mutation(
        "a-read-that-ends-early-is-a-short-file",
        "common/ours.py",
        "    while 0 < got < len(view)",
        "    while False and 0 < got < len(view)",
        (READ_ERRORS,),
    ),
    Mutation(
        "a-note-without-a-location-is-the-last-word",
        f"{LOCAL}/recovery/quarantined.py",
        "if note is None or (note.location is None and not note.released):",
        "if note is None:",
        (READ_ERRORS,),
    ),
    Mutation(
        "quarantined-without-a-location-does-not-count",
        f"{LOCAL}/serving/usage.py",
        "len(index.damaged) + len(damage.nameless)",
        "len(index.damaged)",
        (READ_ERRORS,),
    ),
    Mutation(
        "what-was-unread-is-not-read-again",
        f"{LOCAL}/serving/unread.py",
        "            for blob_id in list(index.unreadable):\n",
        "            for blob_id in list(index.unreadable)[:0]:\n",
        (READ_ERRORS,),
    ),
    Mutation(
        "chunk-not-compared-before-it-is-sent",
        "services/engines/local/serving/reading.py",
        "!= self.blob.crc(chunk)",
        "!= checksum.crc(data)",
        (BYTES,),
    ),
    Mutation(
        "data-of-another-length-served",
        "services/engines/local/disk/blob_folder.py",
        "if not blob.is_original and found.st_size != blob.size:",
        "if False:",
        (PLACES, "tests/disk/test_reconcile.py"),
    ),
    Mutation(
        "linked-first-level-folder-used",
        "services/engines/local/serving/ids.py",
        "                if blob_folder.is_folder(path):\n",
        "                if True:\n",
        (PLACES,),
    ),
    Mutation(
        "format-file-not-checked",
        "services/engines/local/disk/directory.py",
        'if found.check not in ("", found.right_check):',
        "if False:",
        (BYTES,),
    ),
    Mutation(
        "damaged-state-of-a-live-blob-ignored",
        "services/engines/local/serving/store.py",
        "seq in (blob.seq, 0)",
        "seq == blob.seq",
        (PLACES,),
    ),
    Mutation(
        "note-that-does-not-parse-stops-the-start",
        "services/engines/local/disk/quarantine.py",
        "    except (OSError, CorruptRecord, msgspec.DecodeError, UnicodeError, RecursionError):\n",
        "    except (OSError, CorruptRecord):\n",
        (BYTES,),
    ),
    Mutation(
        "damage-not-remembered-after-a-restart",
        "services/engines/local/recovery/quarantined.py",
        "        damaged[note.location] = (name, note)\n",
        "",
        (BYTES, PLACES),
    ),
    Mutation(
        "scrub-overlooks-the-data",
        "services/engines/local/upkeep/scrubber.py",
        "        _verify(data_dir, before, tally, after_read)\n",
        "        pass\n",
        (BYTES,),
    ),
    Mutation(
        "directory-itself-not-locked",
        "services/engines/local/disk/locks.py",
        "            fcntl.flock(root_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "",
        ("tests/unit/test_lock.py",),
    ),
    Mutation(
        "a-folder-that-was-moved-away-lost-its-state",
        "services/engines/local/upkeep/scrubber.py",
        "        return os.path.samestat(os.fstat(fd), os.stat(folder, follow_symlinks=False))\n",
        "        return True\n",
        ("tests/disk/test_scrub.py",),
    ),
    Mutation(
        "a-state-that-still-has-its-temporary-name-is-lost",
        "services/engines/local/upkeep/scrubber.py",
        "[_is_there(name, fd) for name in names] != [True, False, False, True]",
        "[_is_there(name, fd) for name in names][2:] != [False, True]",
        ("tests/disk/test_scrub.py",),
    ),
    Mutation(
        "sealed-memory-is-not-sealed",
        "common/sealed.py",
        "        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, SEALS)\n",
        "",
        (SEALED,),
    ),
    Mutation(
        "unverified-bytes-are-kept",
        "services/engines/local/serving/reading.py",
        "        self._verify(view, chunk)\n        return True\n",
        "        return True\n",
        (SEALED,),
    ),
    Mutation(
        "chunks-of-another-blob-are-sent",
        "services/engines/local/serving/sealed_chunks.py",
        "        if found is None or not is_same(found[0], blob):\n",
        "        if found is None:\n",
        (SEALED,),
    ),
    Mutation(
        "what-is-not-shown-stays-kept",
        "services/engines/local/serving/hot_reads.py",
        "            self.chunks.drop(location)\n",
        "            pass\n",
        (SEALED,),
    ),
]
