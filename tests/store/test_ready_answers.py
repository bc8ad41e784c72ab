"""Ready answers of a reader and of its server: an old one is never given after a write was acknowledged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from common.options import Config
from services.access.decisions import Action
from services.engine import Marks
from services.engines.local.disk import readers_epoch
from services.engines.local.serving.cache import HotCache
from services.engines.local.serving.limits import PrefixLimits
from services.engines.local.serving.sharing import LocalSharing
from services.frontends.native.quick_reads import Peeks, QuickReads
from services.frontends.native.ready_answers import ReadyAnswers
from services.http1 import Limits as OfClients
from services.http1 import RequestHead
from services.http1.parser import parse_head
from services.http1.server_interface import KnownHeads
from services.readers.messages import KnownClient
from services.readers.rights import ToldAccess
from services.store import Blob
from services.watch.request_log import RequestLog
from tests.store.test_sharing import Both
from tests.support.campaign import SIZE, chooser


class OfTheServer:
    """What the server itself uses for `peek`."""

    def __init__(self, both: Both) -> None:
        self._index = both.index
        self._bodies = HotCache(both.data_dir, 1 << 20)

    def peek(self, location: str, *, body: bool = True) -> tuple[Blob, bytes | memoryview] | None:
        blob = self._index.get(location)
        data = None if blob is None else self._bodies.bytes_of(blob)
        return None if blob is None or data is None else (blob, data)


class Asked:
    """The ready answers of a reader or its server, and everything they are made from."""

    def __init__(self, root: Path, *, by_reader: bool) -> None:
        self.both = both = Both(root)
        self.access = ToldAccess(["open/"])
        self.access.begin(both.reader, is_open=True)
        self.requests = RequestLog()
        self.heads = KnownHeads()
        blobs: Peeks = both.reader if by_reader else OfTheServer(both)
        self.marks: Marks = both.reader if by_reader else both.sharing
        self.quick = QuickReads(blobs, self.access, self.requests, Config())
        self.ready = ReadyAnswers(self.quick, self.requests, self.heads)
        self.ready.use(self.marks)

    def put(self, location: str, number: int, body: bytes = b"body") -> None:
        self.both.put(location, number, body)
        self.both.show(location)

    def get(self, location: str, fields: str = "", method: str = "GET") -> bytes | None:
        """The ready answer to this request, which was answered before: its body, or the whole answer if
        it is unusual.
        """
        lines = f"{method} /store/{location} HTTP/1.1\r\nHost: localhost\r\n{fields}"
        data = lines.encode() + b"\r\n"
        if data not in self.heads:
            head = parse_head(lines.encode(), OfClients())
            head.memo = self.quick.read_location(head)
            self.heads.add(data, head)
        self.ready.begin_turn()
        answer = self.ready.answer_to(data)
        self.ready.end_turn(0.001)
        if answer is None:
            return None
        head_bytes, _, body = answer.partition(b"\r\n\r\n")
        assert head_bytes.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length: %d" % len(body) in head_bytes
        return body


@pytest.fixture(params=["reader", "server"])
def asked(request: pytest.FixtureRequest, tmp_path: Path) -> Asked:
    return Asked(tmp_path, by_reader=request.param == "reader")


def test_an_answer_holds_until_its_location_changes(asked: Asked) -> None:
    asked.put("a", 1, b"old")
    assert [asked.get("a") for _ in range(3)] == [b"old"] * 3
    asked.both.put("a", 2, b"new")  # acknowledged, but not shown to anybody yet
    assert asked.get("a") is None
    asked.both.show("a")
    assert asked.get("a") == b"new"
    asked.both.index.show("a", None)
    assert [asked.get("a") for _ in range(2)] == [None] * 2
    assert (asked.requests.tallies["GET"].requests, asked.requests.tallies["GET"].bytes_out) == (4, 12)


def test_what_changes_while_an_answer_is_made_is_not_given(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write comes after the bytes were read, and before they are sent."""
    asked.put("a", 1, b"old")
    lasting = asked.quick.lasting

    def slowly(head: RequestHead, location: str) -> tuple[bytes, int] | None:
        made = lasting(head, location)
        asked.both.index.show("a", None)
        return made

    monkeypatch.setattr(asked.quick, "lasting", slowly)
    assert asked.get("a") is None


def test_rights_are_judged_anew_when_they_change(asked: Asked) -> None:
    asked.put("a", 1)
    asked.put("open/a", 2)
    assert asked.get("a") == b"body"
    asked.access.begin(asked.both.reader, is_open=False)
    asked.both.sharing.new_rights()
    assert asked.get("a") is None
    assert asked.get("open/a") == b"body"
    known = "Authorization: Bearer x\r\n"
    assert asked.get("a", known) is None
    asked.access.permits(Action.READ, "a", None)  # forgets what was known before
    asked.access.learn("Bearer x", KnownClient("ann", "read-only", ""), asked.both.sharing.rights)
    assert [asked.get("a", known) for _ in range(2)] == [b"body"] * 2
    assert asked.get("a", "Authorization: Bearer y\r\n") is None
    asked.both.sharing.new_rights()
    assert asked.get("a", known) is None


def test_a_reader_whose_server_is_gone_has_nothing_ready(tmp_path: Path) -> None:
    asked = Asked(tmp_path, by_reader=True)
    asked.put("a", 1)
    assert asked.get("a") == b"body"
    readers_epoch.end(asked.both.data_dir.root)  # by the process that takes the lock
    assert asked.get("a") is None


def test_what_is_forgotten_is_not_given(asked: Asked) -> None:
    asked.put("a", 1)
    assert asked.get("a") == b"body"
    asked.ready.use(None)
    assert asked.get("a") is None
    asked.ready.use(asked.marks)
    assert asked.get("a") == b"body"


def _expires(asked: Asked) -> None:
    for one in (asked.both.reader._expiry, asked.both.sharing._expiry):
        one.at_s = lambda blob: 1e12  # type: ignore[method-assign]


def _is_counted(asked: Asked) -> None:
    asked.both.sharing._limits = PrefixLimits(asked.both.data_dir, [("a", 1e9)])


@pytest.mark.parametrize("makes", [_expires, _is_counted])
def test_what_does_not_hold_for_ever_is_not_kept(asked: Asked, makes: Callable[[Asked], None]) -> None:
    makes(asked)
    asked.put("a", 1)
    assert asked.get("a") is None


def test_other_requests_and_large_blobs_are_for_others(asked: Asked) -> None:
    asked.put("a", 1)
    asked.put("large", 2, bytes((16 << 10) + 1))
    assert asked.get("large") is None
    assert asked.get("a", method="HEAD") is None
    assert asked.get("a", "Range: bytes=0-1\r\n") is None
    assert asked.get("a") == b"body"
    assert asked.ready.answer_to(b"GET /store/b HTTP/1.1\r\nHost: localhost\r\n\r\n") is None  # not known


def test_what_is_kept_has_a_bound(asked: Asked) -> None:
    asked.ready = ReadyAnswers(asked.quick, asked.requests, asked.heads, hot_bytes=160_000)
    asked.ready.use(asked.marks)
    most = 0
    for number in range(1, 60):
        asked.put(str(number), number, bytes(1000))
        assert asked.get(str(number)) == bytes(1000)
        kept_bytes = sum(len(data) + len(one[2]) for data, one in asked.ready._ready.items())
        assert kept_bytes < 20_000
        most = max(most, len(asked.ready._ready))
    assert most > 5
    asked.ready = ReadyAnswers(asked.quick, asked.requests, asked.heads, hot_bytes=0)
    asked.ready.use(asked.marks)
    assert asked.get("1") is None


def test_a_table_that_is_full_gives_up_what_is_ready(tmp_path: Path) -> None:
    """Entries of a bucket are replaced at random. A ready answer made from one is then void."""
    asked = Asked(tmp_path, by_reader=False)
    asked.put("a", 1)
    assert asked.get("a") == b"body"
    sharing = asked.both.sharing
    assert isinstance(sharing, LocalSharing)
    sharing._table.hide("a")
    at, word, *_ = next(iter(asked.ready._ready.values()))
    assert not sharing.stands(at, word, sharing.rights)
    assert [asked.get("a") for _ in range(2)] == [None, b"body"]


def test_whatever_happens_only_what_is_there_and_allowed_is_ready(asked: Asked) -> None:
    """Random writes, deletes, rights and entries that give way; ids and their files are used again."""
    rng = chooser("ready answers")
    both, sharing = asked.both, asked.both.sharing
    names = [f"{prefix}{number}" for prefix in ("", "open/", "p/") for number in range(5)]
    there: dict[str, tuple[int, bytes]] = {}
    allowed: dict[str, str] | None = None  # prefix by token; None: everything to everybody
    given = 0

    def change_rights() -> None:
        nonlocal allowed
        allowed = (
            None if rng.random() < 0.2 else {t: rng.choice(("", "p/")) for t in "xy" if rng.random() < 0.6}
        )
        asked.access.begin(both.reader, is_open=allowed is None)  # as the server's, before the word
        sharing.new_rights()
        asked.access.permits(Action.READ, "", None)
        for token, prefix in (allowed or {}).items():
            asked.access.learn(f"Bearer {token}", KnownClient(token, "read-only", prefix), sharing.rights)

    def may(location: str, token: str) -> bool:
        if allowed is None or (not token and location.startswith("open/")):
            return True
        return token in allowed and location.startswith(allowed[token])

    def get() -> None:
        nonlocal given
        name, token = rng.choice(names[::2]), rng.choice(("", "x", "y"))
        answer = asked.get(name, f"Authorization: Bearer {token}\r\n" if token else "")
        if answer is not None:
            assert name in there
            assert answer == there[name][1]
            assert may(name, token)
            given += 1

    def put() -> None:
        name = rng.choice(names)
        number = rng.choice([n for n in range(1, 30) if n not in {used for used, _ in there.values()}])
        body = b"%d" % rng.randrange(10**6)
        there[name] = number, body
        shutil.rmtree(both.data_dir.folder(number), ignore_errors=True)
        both.put(name, number, body)

    def delete() -> None:
        name = rng.choice(names)
        there.pop(name, None)
        both.index.show(name, None)

    actions = [
        (get, 60),
        (put, 8),
        (delete, 2),
        (change_rights, 1),
        (lambda: both.show(rng.choice(names)), 20),
    ]
    steps = [action for action, weight in actions for _ in range(weight)]
    for _ in range(800 * (SIZE or 50)):
        if rng.random() < 0.01:  # an entry gives way
            sharing._table.hide(rng.choice(names))
        rng.choice(steps)()
    assert given > 50
