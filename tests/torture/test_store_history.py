"""The check of an object store's history: answers that a correct store may give pass, others do not."""

from __future__ import annotations

import hashlib

import pytest

from tests.torture.store_history import StoreHistory

KEY = "/b/p/loc/a"


def etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


class Asked:
    """Sends one request at a time to a store that gives the answers that it was told."""

    def __init__(self) -> None:
        self.history = StoreHistory("/loc/")

    def put(self, body: bytes, *, over: bytes | None, status: int = 200) -> None:
        condition = "If-None-Match: *" if over is None else f"If-Match: {etag(over)}"
        raw = f"PUT {KEY} HTTP/1.1\r\n{condition}\r\n\r\n".encode() + body
        answered = self.history.ask("PUT", KEY, raw)
        assert answered is not None
        answered(f"HTTP/1.1 {status} \r\n\r\n".encode())

    def get(self, body: bytes | None) -> None:
        answered = self.history.ask("GET", KEY, f"GET {KEY} HTTP/1.1\r\n\r\n".encode())
        assert answered is not None
        if body is None:
            answered(b"HTTP/1.1 404 \r\n\r\n<Code>NoSuchKey</Code>")
        else:
            answered(f"HTTP/1.1 200 \r\nETag: {etag(body)}\r\n\r\n".encode() + body)


def test_a_store_that_keeps_its_promise() -> None:
    asked = Asked()
    asked.get(None)
    asked.put(b"1", over=None)
    asked.put(b"2", over=None, status=412)
    asked.get(b"1")
    asked.put(b"3", over=b"1", status=412)  # refused, and yet applied: a store may do that
    asked.get(b"3")
    asked.put(b"4", over=b"3", status=500)  # not applied
    asked.put(b"5", over=b"3")
    assert asked.history.ask("GET", "/b/p/data/a", b"") is None
    assert asked.history.wrong() == []


@pytest.mark.parametrize(
    ("over", "seen"),
    [(b"1", b"1"), (b"1", None), (None, b"1"), (b"0", b"2")],
    ids=["an old state came back", "it is gone", "it was created twice", "a stale swap succeeded"],
)
def test_a_store_that_does_not(over: bytes | None, seen: bytes | None) -> None:
    asked = Asked()
    asked.put(b"1", over=None)
    asked.put(b"2", over=over)
    asked.get(seen)
    (wrong,) = asked.history.wrong()
    assert wrong.startswith("THE STORE broke its promise")
    assert KEY in wrong
