"""Clients that do everything concurrently on a few locations, and record each answer and its time."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar

from tests.support.linearizable import Call, Move, State
from tests.torture.bodies import ENOUGH_BYTES, Bodies

_ANSWER_WITHIN_S = 30.0
_MOVES = 0.2  # the share of requests after which a client goes to another server
_SIZES = (16, 100, 1000, 1000, 5000, 20_000)

Unsure = Callable[[int, bytes], bool]
"""Whether an answer, by status and body, leaves open what came of the request: it then counts as none."""


class Record:
    """What all clients together saw. `wrong`: answers that are wrong without any search."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Call]] = {}
        self.moves: list[Move] = []
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self.etags: dict[str, tuple[str, int]] = {}  # by location: a tag that was seen lately, with its write
        self.s3_etags: dict[str, tuple[str, int]] = {}  # the same as S3 has it
        self.bodies = Bodies()
        self._lock = threading.Lock()

    def add(self, location: str, call: Call) -> None:
        """One call with its answer, or without one."""
        with self._lock:
            self.calls.setdefault(location, []).append(call)
            self.counts["unanswered" if call.end_s is None else call.kind] += 1
            self.counts["answered"] += call.end_s is not None

    def add_move(self, move: Move) -> None:
        """One move with its answer, or without one."""
        with self._lock:
            self.moves.append(move)
            self.counts["unanswered" if move.end_s is None else "move"] += 1
            self.counts["answered"] += move.end_s is not None

    def complain(self, text: str) -> None:
        """Note something that must never happen."""
        with self._lock:
            self.wrong.append(text)


class Client(threading.Thread):
    """One connection after the other, one request at a time, until `stopping` is set.

    Each connection is to one of `ports`, chosen anew. `sizes`: of bodies, in bytes.
    """

    # What is done, and how often; then the same with many deletes.
    KINDS: ClassVar[dict[str, tuple[int, int]]] = {
        "read": (20, 14),
        "range": (10, 5),
        "create": (14, 26),
        "update": (18, 8),
        "delete": (10, 26),
        "swap": (8, 4),
        "slow": (3, 2),
        "cut": (4, 3),
    }

    def __init__(
        self,
        number: int,
        ports: Sequence[int],
        record: Record,
        locations: list[str],
        seed: int,
        stopping: threading.Event,
        *,
        many_deletes: bool,
        sizes: Sequence[int] = _SIZES,
        is_unsure: Unsure = lambda status, body: False,
    ) -> None:
        super().__init__(name=f"client {number}")
        self._number = number
        self._ports = ports
        self._port = ports[0]
        self._sizes = sizes
        self._is_unsure = is_unsure
        self._record = record
        self._locations = locations
        self._rng = random.Random(seed)
        self._stopping = stopping
        self._weights = [weights[many_deletes] for weights in self.KINDS.values()]
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                if not self._is_connected():
                    time.sleep(0.05)  # supervisord is dead, too, so nobody listens
                    continue
                kind = self._rng.choices([*self.KINDS], self._weights)[0]
                location = self._rng.choice(self._locations)
                getattr(self, f"do_{kind}")(location)
                time.sleep(self._rng.random() * 0.01)
        except Exception as err:  # noqa: BLE001 - in a thread nobody would see it
            self._record.complain(f"{self.name}: {err!r}")
        finally:
            self.hang_up()

    # --- what is done ---

    def do_read(self, location: str) -> None:
        self.read(location)

    def read(self, location: str) -> bool:
        """Read it whole. False if no answer came."""
        began = time.monotonic()
        answer = self._ask("GET", location)
        if answer is None:
            return False
        status, headers, body = answer
        if status == 200:
            self._saw_tag(location, headers, self._saw(location, began, body, 0, len(body)))
        elif status == 404:
            self._note(location, "read", began)
        else:
            self._refused("read", location, status, body)
        return True

    def do_range(self, location: str) -> None:
        first = self._rng.choice((0, 1, 15, 100, 1000))
        last = first + ENOUGH_BYTES - 1 + self._rng.choice((0, 1, 50, 5000))
        began = time.monotonic()
        answer = self._ask("GET", location, headers={"Range": f"bytes={first}-{last}"})
        if answer is None:
            return
        status, headers, body = answer
        if status == 206:
            whole_size = int(headers["content-range"].rpartition("/")[2])
            if len(body) >= ENOUGH_BYTES:
                self._saw_tag(location, headers, self._saw(location, began, body, first, whole_size))
        elif status == 404:
            self._note(location, "read", began)
        elif status != 416:
            self._refused("range", location, status, body)

    def do_create(self, location: str) -> None:
        self._write("POST", location, "create", "exists", 409)

    def do_update(self, location: str) -> None:
        self._write("PUT", location, "update", "missing", 404)

    def do_delete(self, location: str) -> None:
        began = time.monotonic()
        answer = self._ask("DELETE", location)
        if answer is None:
            self._left_open(location, "delete", began)
        elif answer[0] in (200, 404):
            self._note(location, "delete" if answer[0] == 200 else "missing", began)
        else:
            self._refused("delete", location, answer[0], answer[2])

    def do_swap(self, location: str) -> None:
        """An update of exactly what was seen."""
        etag, expected = self._record.etags.get(location, ('"none"', 0))
        number, body = self._record.bodies.make(self._size())
        began = time.monotonic()
        answer = self._ask("PUT", location, body, {"If-Match": etag})
        if answer is None:
            self._left_open(location, "swap", began, number, expected)
        elif answer[0] == 200:
            self._note(location, "swap", began, number, expected)
        elif answer[0] in (404, 412):
            self._note(location, "missing" if answer[0] == 404 else "differs", began, None, expected)
        else:
            self._refused("swap", location, answer[0], answer[2])

    def do_slow(self, location: str) -> None:
        """An update that comes in pieces, so that it is staged and others overtake it."""
        number, body = self._record.bodies.make(self._size())
        began = time.monotonic()
        answer = self._ask("PUT", location, body, pieces=4)
        if answer is None:
            self._left_open(location, "update", began, number)
        elif answer[0] in (200, 404):
            done = answer[0] == 200
            self._note(location, "update" if done else "missing", began, number if done else None)
        else:
            self._refused("slow", location, answer[0], answer[2])

    def do_cut(self, location: str) -> None:
        """An upload that ends before its end: nothing of it may ever be seen. So no call is noted."""
        _, body = self._record.bodies.make(self._size())
        method = self._rng.choice(("PUT", "POST"))
        head = (
            f"{method} /store/{location} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 30) as cut:
            cut.sendall(head.encode() + body[: self._rng.randrange(len(body))])
            time.sleep(self._rng.choice((0.0, 0.07)))
        self._record.counts["cut"] += 1

    # --- inside ---

    def _write(self, method: str, location: str, kind: str, otherwise: str, otherwise_status: int) -> None:
        number, body = self._record.bodies.make(self._size())
        began = time.monotonic()
        answer = self._ask(method, location, body)
        if answer is None:
            self._left_open(location, kind, began, number)
            return
        status, headers, text = answer
        if status in (200, 201):
            self._note(location, kind, began, number)
            if "etag" in headers:
                self._record.etags[location] = (headers["etag"], number)
        elif status == otherwise_status:
            self._note(location, otherwise, began)
        else:
            self._refused(kind, location, status, text)

    def _size(self) -> int:
        return self._rng.choice(self._sizes)

    def _note(
        self, location: str, kind: str, began: float, value: State = None, expected: State = None
    ) -> None:
        call = Call(kind, began, time.monotonic(), value, expected, self._number)
        self._record.add(location, call)

    def _left_open(
        self, location: str, kind: str, began: float, value: State = None, expected: State = None
    ) -> None:
        """Note a call that got no answer. It may have been done, or may still be done."""
        self._record.add(location, Call(kind, began, None, value, expected, self._number))

    def _saw(self, location: str, began: float, part: bytes, first: int, size: int) -> int | None:
        """Note what was read. Gives its write; None if there is none."""
        try:
            number = self._record.bodies.whose(part, first, size)
        except ValueError as err:
            self._record.complain(f"a read of {location}: {err}")
            return None
        self._note(location, "read", began, number)
        return number

    def _saw_tag(self, location: str, headers: dict[str, str], number: int | None) -> None:
        if number is not None:
            self._record.etags[location] = (headers["etag"], number)

    def _refused(self, kind: str, location: str, status: int, body: bytes) -> None:
        """Nothing was changed. If it was, a read will show a value of no known write."""
        self._record.counts[f"{status}"] += 1
        if status not in (503, 507):
            self._record.complain(f"{kind} of {location} was answered with {status}: {body[:200]!r}")

    def _ask(
        self,
        method: str,
        location: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        pieces: int = 1,
        door: str = "/store/",
    ) -> tuple[int, dict[str, str], bytes] | None:
        """Status, headers by lower-case name, body; None if no complete answer came."""
        if not self._is_connected() or self._connection is None:
            return None
        connection = self._connection
        try:
            connection.putrequest(method, door + location)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            if body:
                step = -(-len(body) // pieces)
                for at in range(0, len(body), step):
                    if at:
                        time.sleep(0.03)
                    connection.send(body[at : at + step])
            with contextlib.closing(connection.getresponse()) as answer:
                content = answer.read()
        except (OSError, http.client.HTTPException):
            self.hang_up()
            return None
        if answer.will_close or (len(self._ports) > 1 and self._rng.random() < _MOVES):
            self.hang_up()
        if self._is_unsure(answer.status, content):
            self._record.counts[f"unsure {answer.status}"] += 1
            return None
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content

    def _is_connected(self) -> bool:
        """Connect, if that is not done yet. False if nobody listens, so that nothing was asked."""
        if self._connection is None:
            self._port = self._rng.choice(self._ports)
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_WITHIN_S)
            try:
                connection.connect()
            except OSError:
                return False
            self._connection = connection
        return True

    def hang_up(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
