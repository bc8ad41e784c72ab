"""Breaks that would let reader processes give stale answers, or answer clients without the right."""

from __future__ import annotations

from tests.mutations.table import Mutation

SHARING = "services/engines/local/serving/sharing.py"
IN_MEMORY = ("tests/store/test_sharing.py",)
READY = ("tests/store/test_ready_answers.py",)
CHANGES = "tests/process/test_readers_see_changes.py"
RELAYS = ("tests/http1/test_relays.py",)
PROCESSES = "tests/process/test_readers.py"

ROWS = [
    Mutation(
        "readers-are-not-told-before-a-change",
        "services/engines/local/serving/index.py",
        "            self.on_show(location)\n        self.blobs.show(location, blob)\n",
        "            asyncio.get_running_loop().call_later(0.5, self.on_show, location)\n"
        "        self.blobs.show(location, blob)\n",
        (f"{PROCESSES}::test_what_was_deleted_is_gone_at_once",),
    ),
    Mutation(
        "a-reader-looks-at-the-word-before-it-reads-alone",
        SHARING,
        "data is None or self._words[at] != word or",
        "data is None or",
        IN_MEMORY,
    ),
    Mutation(
        "what-is-ready-is-sent-without-a-look-at-the-word",
        "services/frontends/native/ready_answers.py",
        "if not self._stands(at, word, self._rights):",
        "if False:",
        READY,
    ),
    Mutation(
        "a-reader-sends-what-is-ready-after-its-location-changed",
        SHARING,
        "return words[at] == word and words[0] == rights and self._epochs",
        "return words[0] == rights and self._epochs",
        READY,
    ),
    Mutation(
        "a-server-sends-what-is-ready-after-its-location-changed",
        SHARING,
        "return self._words[at] == word and self._words[0] == rights",
        "return self._words[0] == rights",
        READY,
    ),
    Mutation(
        "what-is-ready-outlives-the-rights-of-who-asks",
        SHARING,
        "words[0] == rights and self._epochs",
        "self._epochs",
        READY,
    ),
    Mutation(
        "what-is-ready-outlives-the-server",
        SHARING,
        " and words[0] == rights and self._epochs[0] == self._epoch",
        " and words[0] == rights",
        READY,
    ),
    Mutation(
        "what-will-expire-is-ready-for-ever",
        SHARING,
        "if entry is None or self._expiry.at_s(entry[2]) is not None:",
        "if entry is None:",
        READY,
    ),
    Mutation(
        "what-is-ready-is-sent-in-the-middle-of-a-request",
        "services/http1/connection.py",
        "return self.phase is IDLE and to.held is None",
        "return to.held is None",
        ("tests/http1/test_ready_answers.py",),
    ),
    Mutation(
        "what-is-ready-overtakes-what-is-unsent",
        "services/http1/turns.py",
        "if data and not transport.unsent and transport.hears():",
        "if data and transport.hears():",
        ("tests/http1/test_ready_answers.py",),
    ),
    Mutation(
        "a-reader-believes-a-dead-server-for-ever",
        SHARING,
        " or self._epochs[0] != self._epoch:",
        ":",
        IN_MEMORY,
    ),
    Mutation(
        "whoever-takes-the-lock-lets-readers-believe",
        "services/engines/local/disk/locks.py",
        "            readers_epoch.end(self._root)\n",
        "            pass\n",
        IN_MEMORY,
    ),
    Mutation(
        "half-an-entry-is-one",
        "services/engines/local/serving/shared_table.py",
        "if _digest(word, entry) != digest:",
        "if False:",
        IN_MEMORY,
    ),
    Mutation(
        "a-reader-asks-nobody-who-may",
        "services/readers/rights.py",
        "        self._forget_old()\n        return super().permits(action, location, authorization)\n",
        "        return True\n",
        (f"{PROCESSES}::test_who_may_is_asked_of_the_server",),
    ),
    Mutation(
        "a-reader-refuses-a-head-with-a-body",
        "services/readers/front.py",
        'b"" if exchange.head.start_line.method == "HEAD" else body',
        "body",
        ("tests/unit/test_reader_front.py",),
    ),
    Mutation(
        "a-connection-that-cannot-be-handed-over-is-forgotten",
        "services/http1/exchange.py",
        '            sock = connection.transport.extra_info("socket").dup()\n'
        "            transport, rest = connection.leave(self)\n",
        '            taken = connection.transport.extra_info("socket")\n'
        "            transport, rest = connection.leave(self)\n"
        "            sock = taken.dup()\n",
        ("tests/unit/test_reader_front.py",),
    ),
    Mutation(
        "a-reader-sends-the-fields-of-another-blob",
        "services/frontends/native/quick_reads.py",
        "known[0] is blob or known[0] == blob",
        "known[0] is blob or known[0].version == blob.version",
        ("tests/unit/test_reader_front.py",),
    ),
    Mutation(
        "a-reader-knows-who-may-for-ever",
        "services/readers/rights.py",
        "if self._shared is not None and self._shared.rights != self._as_of:",
        "if False:",
        IN_MEMORY,
    ),
    Mutation(
        "a-reader-keeps-the-host-names-of-an-earlier-server",
        "services/readers/guest.py",
        "        self.server.known_heads.clear()",
        "        pass",
        (f"{PROCESSES}::test_host_names_are_judged_as_by_the_server_that_is_there_now",),
    ),
    Mutation(
        "a-reader-without-a-server-believes-a-file-that-was-replaced",
        SHARING,
        "return found if readers_epoch.is_in_place(self._data_dir.root, self._epoch_file) else None",
        "return found",
        IN_MEMORY,
    ),
    Mutation(
        "what-a-reader-is-saying-is-cut-off-with-its-server",
        "services/readers/channel.py",
        "if not data and self._out:",
        "if False:",
        ("tests/unit/test_reader_channel.py",),
    ),
    Mutation(
        "what-a-reader-said-last-is-lost-where-the-server-speaks",
        "services/readers/channel.py",
        "        self.read_all()\n        self._fail()\n",
        "        self._fail()\n",
        ("tests/unit/test_reader_channel.py",),
    ),
    Mutation(
        "a-reader-that-stops-cuts-what-it-is-saying",
        "services/readers/guest.py",
        "                        await self._channel.all_sent()\n                self._channel.close()",
        "                        pass\n                self._channel.close()",
        ("tests/unit/test_reader_channel.py",),
    ),
    Mutation(
        "a-reader-says-of-what-has-expired-that-it-is-there",
        SHARING,
        '(None if self._expiry.is_over(blob) else b"")',
        'b""',
        (f"{CHANGES}::test_nobody_gets_what_has_expired",),
    ),
    Mutation(
        "a-reader-that-stops-keeps-its-last-counts",
        "services/readers/guest.py",
        "            counting.cancel()\n            self.count()\n",
        "            counting.cancel()\n",
        (f"{CHANGES}::test_counts_are_those_of_all_processes_together",),
    ),
    Mutation(
        "a-reader-tells-its-counts-again",
        "services/watch/request_log.py",
        "        self.tallies, self.refusals = {}, {}\n",
        "        self.tallies, self.refusals = dict(self.tallies), {}\n",
        (f"{CHANGES}::test_counts_are_those_of_all_processes_together",),
    ),
    Mutation(
        "what-is-being-settled-is-not-said-to-come-back",
        "services/frontends/statuses.py",
        "or status_of(err) == 503",
        "or isinstance(err, errors.Unavailable)",
        ("tests/process/test_readers_alike.py",),
    ),
    Mutation(
        "a-reader-hands-over-to-a-server-that-takes-nothing",
        "services/readers/guest.py",
        "if channel.is_open and not channel.has_unsent:",
        "if channel.is_open:",
        ("tests/unit/test_reader_front.py",),
    ),
    Mutation(
        "a-reader-has-limits-of-its-own",
        "services/listening.py",
        "    server = http1.HTTPServer(app, limits=_limits(config), ssl_options=tls)\n"
        "    server.on_refused = requests.refused\n"
        "    server.spared = _is_vital\n"
        "    server.quick_answer = quick_answer\n"
        "    return server\n\n",
        "    server = http1.HTTPServer(app, ssl_options=tls)\n"
        "    server.on_refused = requests.refused\n"
        "    server.spared = _is_vital\n"
        "    server.quick_answer = quick_answer\n"
        "    return server\n\n",
        ("tests/unit/test_listening.py",),
    ),
    Mutation(
        "a-reader-that-speaks-tls-hands-over-what-is-encrypted",
        "services/http1/exchange.py",
        "        if remote_ip:\n            ours, sock",
        "        if False:\n            ours, sock",
        (f"{PROCESSES}::test_readers_speak_tls_and_the_server_answers_what_they_do_not",),
    ),
    Mutation(
        "who-relays-does-not-look-whether-its-client-takes-anything",
        "services/http1/server.py",
        "            transport.check_taken(now)\n",
        "            pass\n",
        RELAYS,
    ),
    Mutation(
        "who-answers-judges-the-clients-of-who-relays",
        "services/http1/transport.py",
        "elif self._client_is_here and now",
        "elif now",
        RELAYS,
    ),
    Mutation(
        "a-relay-closes-on-a-client-that-still-sends",
        "services/http1/transport.py",
        "if self.has_halves and self.raw.can_write_eof():",
        "if self.raw.can_write_eof():",
        RELAYS,
    ),
    Mutation(
        "who-left-over-tls-is-told-that-its-body-is-cut-short",
        "services/http1/connection.py",
        "if not self.transport.has_halves:",
        'if self.transport.extra_info("ssl_object") is not None:',
        RELAYS,
    ),
    Mutation(
        "one-too-many-is-none-where-it-was-handed-over",
        "services/http1/server.py",
        "refused = handed.is_one_too_many or len",
        "refused = len",
        RELAYS,
    ),
    Mutation(
        "who-leaves-after-an-early-answer-is-counted-twice",
        "services/frontends/handler.py",
        "        if self._finished:\n            return  # answered",
        "        if False:\n            return  # answered",
        ("tests/http/test_handlers.py",),
    ),
    Mutation(
        "a-reader-keeps-the-old-certificate",
        "services/server.py",
        "        credentials.on_certificate = readers.renew_certificates\n",
        "        pass\n",
        (f"{PROCESSES}::test_readers_speak_tls_and_the_server_answers_what_they_do_not",),
    ),
    Mutation(
        "a-server-without-descriptors-spins-for-a-reader",
        "services/readers/host.py",
        "            self._loop.remove_reader(self._door.fileno())\n            self._pause = ",
        "            self._pause = ",
        ("tests/unit/test_reader_host.py",),
    ),
]
