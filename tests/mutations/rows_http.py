"""Breaks of the HTTP contract: conditions, ranges, uploads, listings, and the description of it all."""

from __future__ import annotations

from tests.mutations.table import Mutation

_READING = ("tests/http/test_reading.py::test_read",)
_WRITING = ("tests/http/test_writing.py::test_write",)
_ABORTS = ("tests/http/test_aborts.py",)
_LISTINGS = ("tests/http/test_listings.py",)

ROWS = [
    Mutation(
        "unlock-gives-back-whose-lock-it-is-now",
        "services/frontends/native/state_locks.py",
        "blob.version != found.version",
        "False",
        ("tests/engines/test_state_locks.py",),
    ),
    Mutation(
        "damaged-lock-is-taken-over",
        "services/frontends/native/state_locks.py",
        "    if damaged:\n",
        "    if False:\n",
        ("tests/engines/test_state_locks.py",),
    ),
    Mutation(
        "connection-takes-any-step",
        "services/http1/connection.py",
        "        if to not in STEPS[self._phase]:\n",
        "        if False:\n",
        ("tests/http1/test_phases.py",),
    ),
    Mutation(
        "ticket-to-who-may-not-read",
        "services/frontends/native/downloads.py",
        "        return Action.READ, self.location\n",
        "        return Action.READ, self.request.path[:0] or None\n",
        ("tests/http/test_session.py",),
    ),
    Mutation(
        "ticket-outlives-its-minute",
        "services/frontends/native/downloads.py",
        "if ticket is None or ticket.until_s < time.monotonic():",
        "if ticket is None:",
        ("tests/http/test_session.py",),
    ),
    Mutation(
        "range-served-though-if-range-fails",
        "services/frontends/native/read_plan.py",
        "if condition is not None and not if_range_holds(",
        "if condition is not None and False and not if_range_holds(",
        _READING,
    ),
    Mutation(
        "range-of-a-head",
        "services/frontends/native/read_plan.py",
        'if asked is None or method != "GET":',
        "if asked is None:",
        _READING,
    ),
    Mutation(
        "answers-to-a-rebound-name",
        "services/frontends/native/quick_reads.py",
        "        return not hosts.guards or hosts.allows(host)\n",
        "        return True\n",
        ("tests/http/test_host_names.py",),
    ),
    Mutation(
        "stored-type-begins-fields",
        "services/frontends/native/headers.py",
        "return blob.type if fits_field(blob.type) else DEFAULT_MEDIA_TYPE",
        "return blob.type",
        ("tests/unit/test_response_splitting.py",),
    ),
    Mutation(
        "stored-page-not-sandboxed",
        "services/frontends/native/headers.py",
        '        ("Content-Security-Policy", PLAYED_CSP if is_played else STORED_CSP),\n',
        "",
        _READING,
    ),
    Mutation(
        "rot-found-after-the-first-byte-ends-in-order",
        "services/frontends/handler.py",
        "self.request.connection.stream.close()",
        "self.request.connection.stream.closed()",
        ("tests/http/test_damage.py",),
    ),
    Mutation(
        "write-conditions-ignored",
        "services/frontends/native/write_conditions.py",
        "if evaluate(headers, tag, modified, method) is PRECONDITION_FAILED:",
        "if False:",
        _WRITING,
    ),
    Mutation(
        "post-updates",
        "services/frontends/native/write_conditions.py",
        'if method == "POST" and blob is not None:',
        "if False:",
        _WRITING,
    ),
    Mutation(
        "digest-not-compared",
        "services/frontends/digests.py",
        "            if not hmac.compare_digest(found, digest):\n",
        "            if False:\n",
        _WRITING,
    ),
    Mutation(
        "file-under-another-name",
        "services/frontends/handler.py",
        "if await upload.sha256() != sha256:",
        "if await upload.sha256() is None:",
        ("tests/restic/test_protocol.py",),
    ),
    Mutation(
        "part-stored-as-the-whole",
        "services/frontends/native/blobs.py",
        "        refuse_partial(headers)\n",
        "",
        _WRITING,
    ),
    Mutation(
        "expect-compared-letter-by-letter",
        "services/frontends/handler.py",
        'self.request.headers["Expect"] = "100-continue" if waits else ""',
        "pass",
        ("tests/http/test_writing.py::test_continue_is_said_in_any_letter_case",),
    ),
    Mutation(
        "cut-upload-stays",
        "services/frontends/handler.py",
        'asyncio.ensure_future(self.incoming.abort("connection lost"))',
        "None",
        _ABORTS,
    ),
    Mutation(
        "error-in-a-body-told-at-its-end",
        "services/frontends/handler.py",
        "                self.send_error(500, exc_info=sys.exc_info())\n",
        "                pass\n",
        ("tests/http/test_limits.py",),
    ),
    Mutation(
        "room-looked-at-only-at-the-start",
        "services/engines/local/serving/upload.py",
        "            self._owner.space.check_more(self._held_bytes)\n",
        "",
        ("tests/store/test_room.py",),
    ),
    Mutation(
        "names-not-escaped-in-pages",
        "services/frontends/native/listing_pages.py",
        ">{escape(name)}<",
        ">{name}<",
        ("tests/http/test_listings.py::test_no_name_escapes_from_a_page",),
    ),
    Mutation(
        "links-from-the-root",
        "services/frontends/native/listing_pages.py",
        "quote_location(location[folder.base :])",
        "quote_location(location)",
        _LISTINGS,
    ),
    Mutation(
        "pages-by-id-unsorted-across-folders",
        "services/engines/local/disk/directory.py",
        "    for row in sorted(rows):\n        if (row + 1)",
        "    for row in sorted(rows, reverse=True):\n        if (row + 1)",
        ("tests/http/test_blobs_by_id.py",),
    ),
    Mutation(
        "description-lies",
        "services/frontends/native/openapi.py",
        '            {"201": created, "409": error("It is there already."), **refused},',
        '            {"201": created, **refused},',
        ("tests/http/test_openapi.py",),
    ),
    Mutation(
        "metrics-made-in-one-turn",
        "services/watch/metrics.py",
        "            await asyncio.sleep(0)\n",
        "",
        ("tests/http/test_turns.py",),
    ),
    Mutation(
        "drain-ends-while-an-answer-is-being-taken",
        "services/http1/server.py",
        "one.transport.untaken_bytes for",
        "one.transport.unsent_bytes for",
        ("tests/http1/test_closing.py",),
    ),
    Mutation(
        "drain-closes-on-an-answer-that-is-being-taken",
        "services/http1/connection.py",
        "if self.transport.untaken_bytes else self._close",
        "if False else self._close",
        ("tests/http1/test_closing.py",),
    ),
    Mutation(
        "the-host-of-a-whole-url-is-not-judged",
        "services/http1/parser.py",
        '        host = headers.get("Host")\n',
        "        pass\n",
        ("tests/unit/test_fast_path.py",),
    ),
]
