"""The requests for each pointer and their answers from an object store: did the store keep its promise?

The engine can be no better than the store's conditional writes. So if the history of clients cannot be
explained, this tells whose fault it is: the same check runs on the store's own history of ETags, as the fault
proxy saw it. A write that was not answered with success may have taken effect at any time since it began, or
never: a store may answer 412 to a write that it did apply.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from tests.support.linearizable import Call, Undecided, is_linearizable

Answered = Callable[[bytes], None]
"""Called with an answer of the store, as it came."""

_FIELD = {
    name: re.compile(rb"(?im)^" + name.encode() + rb":[ \t]*([^\r\n]*)")
    for name in ("etag", "if-match", "if-none-match")
}


class StoreHistory:
    """The history of all keys that contain `part`, through all doors. Any thread may call it."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._calls: dict[str, list[Call]] = {}
        self._numbers: dict[str, int] = {}  # of ETags
        self._lock = threading.Lock()

    def ask(self, method: str, target: str, raw: bytes) -> Answered | None:
        """A request is about to be sent. Gives a function to call with its answer, if there is one."""
        url = urlsplit(target)
        if self._part not in url.path or method not in ("GET", "PUT"):
            return None
        head, _, body = raw.partition(b"\r\n\r\n")
        began, key = time.monotonic(), unquote(url.path)
        if method == "GET":
            return lambda answer: self._read(key, began, answer)
        made = self._number(hashlib.md5(body, usedforsecurity=False).hexdigest())
        expected = _field(head, "if-match")
        call = Call("create", began, None, made)
        if expected:
            call = Call("swap", began, None, made, self._number(expected))
        elif not _field(head, "if-none-match"):
            call = Call("put", began, None, made)
        with self._lock:
            calls = self._calls.setdefault(key, [])
            calls.append(call)
            at = len(calls) - 1
        return lambda answer: self._wrote(calls, at, answer)

    def wrong(self) -> list[str]:
        """The keys whose history no order of their requests explains, each with that history."""
        found = []
        for key, calls in self._calls.items():
            try:
                if is_linearizable(calls):
                    continue
            except Undecided as err:
                found.append(f"the store's answers for {key} are undecided: {err}")
                continue
            shown = "\n    ".join(map(repr, sorted(calls, key=lambda call: call.begin_s)))
            found.append(
                f"THE STORE broke its promise: no order explains its answers for {key}:\n    {shown}"
            )
        return found

    def _read(self, key: str, began: float, answer: bytes) -> None:
        status, head = int(answer[9:12]), answer.partition(b"\r\n\r\n")[0]
        if status not in (200, 206, 404) or (status == 404 and b"NoSuchKey" not in answer):
            return
        seen = self._number(_field(head, "etag")) if status != 404 else None
        with self._lock:
            self._calls.setdefault(key, []).append(Call("read", began, time.monotonic(), seen))

    def _wrote(self, calls: list[Call], at: int, answer: bytes) -> None:
        if int(answer[9:12]) == 200:
            with self._lock:
                one = calls[at]
                calls[at] = Call(one.kind, one.begin_s, time.monotonic(), one.value, one.expected)

    def _number(self, etag: str) -> int:
        with self._lock:
            return self._numbers.setdefault(etag.strip('"'), len(self._numbers) + 1)


def _field(head: bytes, name: str) -> str:
    found = _FIELD[name].search(head)
    return found[1].decode("latin-1").strip() if found is not None else ""
