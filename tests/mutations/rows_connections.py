"""Breaks of the bounds of a client: its work in a turn, its time, its connections."""

from __future__ import annotations

from tests.mutations.table import Mutation

TURNS = ("tests/http1/test_turns.py",)
TIME = ("tests/http1/test_time.py",)
LENT = "tests/http1/test_lent_room.py"

ROWS = [
    Mutation(
        "memory-that-is-sent-is-read-into",
        "services/http1/transport.py",
        "                memory.is_lent = True\n",
        "                pass\n",
        ("tests/http1/test_read_buffer.py",),
    ),
    Mutation(
        "lent-memory-is-read-into",
        "services/engines/local/disk/read_nowait.py",
        " if size <= _MOST_BYTES and not _buffer.is_lent else _other(size)\n",
        " if size <= _MOST_BYTES else _other(size)\n",
        ("tests/http1/test_read_buffer.py",),
    ),
    Mutation(
        "head-is-put-before-another-body",
        "common/read_buffer.py",
        "        if len(body) != self.body_bytes or len(body) < _LEAST_BYTES or begin < 0:\n",
        "        if len(body) < _LEAST_BYTES or begin < 0:\n",
        ("tests/http1/test_read_buffer.py",),
    ),
    Mutation(
        "short-bodies-keep-memory-of-their-own",
        "common/read_buffer.py",
        " or len(body) < _LEAST_BYTES or begin < 0:\n",
        " or begin < 0:\n",
        ("tests/http1/test_read_buffer.py",),
    ),
    Mutation(
        "an-empty-put-gets-no-100",
        "services/http1/request_cycle.py",
        '        if waits and (body is not None or "Content-Length" in exchange.head.headers):\n',
        "        if waits and body is not None:\n",
        ("tests/http1/test_requests.py",),
    ),
    Mutation(
        "a-handshake-counts-as-idleness",
        "services/http1/connection.py",
        "        self._since = self.clock()  # when the wait began",
        "        self._since = self.clock() - 1000.0  # when the wait began",
        ("tests/http1/test_tls.py::test_drain_answers_whose_handshake_was_long",),
    ),
    Mutation(
        "what-begins-counts-twice",
        "services/http1/server.py",
        "or len(self._admitted) >= limits",
        "or len(self._open) + len(self._connecting) - len(self._refusing) >= limits",
        ("tests/http1/test_closing.py",),
    ),
    Mutation(
        "the-end-of-sending-refuses-whole-requests",
        "services/http1/connection.py",
        "            self.advance()  # whole requests may be here; what is none is refused\n",
        '            self._refuse(400, "Send the whole request before closing.")\n',
        ("tests/http/test_half_closed.py",),
    ),
    Mutation(
        "small-chunks-hold-the-loop",
        "services/http1/body.py",
        "self.spent = self._chunks.spent or len(data) - len(rest) >= self._limits.turn_bytes",
        "self.spent = False",
        TURNS,
    ),
    Mutation(
        "large-bodies-hold-the-loop",
        "services/http1/body.py",
        "self.spent = len(piece) >= self._limits.turn_bytes",
        "self.spent = False",
        TURNS,
    ),
    Mutation(
        "bodies-that-nobody-needs-have-no-bound",
        "services/http1/request_cycle.py",
        "min(body.max_bytes, limits.unneeded_body_bytes)",
        "body.max_bytes",
        ("tests/http1/test_requests.py",),
    ),
    Mutation(
        "slow-bodies-keep-others-out",
        "services/http1/server.py",
        "                slowest[1].give_way()\n",
        "                pass\n",
        TIME,
    ),
    Mutation(
        "who-is-told-to-go-while-it-begins-stays",
        "services/http1/server.py",
        "                connection.connection_lost(None)\n",
        "                pass\n",
        ("tests/http1/test_closing.py",),
    ),
    Mutation(
        "refused-bodies-count-as-coming-in",
        "services/http1/request_cycle.py",
        "        self._connection.server.body_ended",
        "        if self.body is not None and self.body.whole:\n"
        "            self._connection.server.body_ended",
        TIME,
    ),
    Mutation(
        "a-drain-resets-what-follows-a-quick-answer",
        "services/http1/connection.py",
        "        if self._answered_quickly:  # nobody noted when\n",
        "        if False:\n",
        ("tests/http1/test_ready_answers.py",),
    ),
    Mutation(
        "readers-that-take-nothing-stay",
        "services/http1/transport.py",
        "elif self._client_is_here and now - self._taken_at > self._limits.write_idle_timeout_s:",
        "elif False:",
        TIME,
    ),
    Mutation(
        "healthz-refused-where-all-connections-are-in-use",
        "services/http1/connection.py",
        "if self.refused and not self.server.spares(head):",
        "if self.refused:",
        ("tests/http1/test_closing.py",),
    ),
    Mutation(
        "pieces-for-silent-readers-over-tls-are-large",
        "services/engines/local/serving/reading.py",
        "PIECE_BYTES = 128 << 10",
        "PIECE_BYTES = 1 << 20",
        ("tests/http/test_attacks.py::test_readers_over_tls_who_take_nothing_cost_little",),
    ),
    Mutation(
        "unfinished-handshakes-keep-others-out",
        "services/http1/server.py",
        "            handshake.cancel()\n",
        "            return False\n",
        ("tests/http1/test_tls.py",),
    ),
    Mutation(
        "plain-http-to-tls-closed-without-a-word",
        "services/http1/server.py",
        "err.reason in _NOT_TLS",
        "err.reason is None",
        ("tests/http1/test_tls.py",),
    ),
    Mutation(
        "what-came-first-is-received-last",
        "services/http1/body_receiver.py",
        "None if self._connection.pending else self._cycle.room()",
        "self._cycle.room()",
        (LENT,),
    ),
    Mutation(
        "received-while-the-delegate-waits",
        "services/http1/request_cycle.py",
        "            connection.transport.pause_reading(True)  # there is no room meanwhile\n",
        "            pass\n",
        (LENT,),
    ),
    Mutation(
        "received-past-the-end-of-a-body",
        "services/http1/request_cycle.py",
        "room[: body.left_bytes()]",
        "room",
        (LENT,),
    ),
    Mutation(
        "received-bytes-are-not-heard",
        "services/http1/request_cycle.py",
        "        body.heard(connection.clock())\n",
        "        pass\n",
        (LENT,),
    ),
    Mutation(
        "received-bodies-hold-the-loop",
        "services/http1/body.py",
        "self.spent = size_bytes >= self._limits.turn_bytes",
        "self.spent = False",
        ("tests/perf/test_calls.py",),
    ),
]
