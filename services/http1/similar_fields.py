"""Heads that differ from an earlier one only in a few values, such as those of a client that signs each
request.

Most of their lines were checked before, and what follows from the names of the fields is known. Pure.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import NamedTuple

# Values of these fields determine the framing or the host, so they are always parsed. Content-Length is
# checked below.
_JUDGED = frozenset({"Host", "Connection", "Transfer-Encoding", "Expect"})
_LENGTH = "Content-Length"
_value = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch
_digits = re.compile(rb"[0-9]{1,18}").fullmatch
_MAX_KNOWN = 64
_KEY_BYTES = 12  # of the first line: clients differ in how they begin


class Shape:
    """What all heads with the same fields, in the same order, have in common: the names, each of which occurs
    once, the host, and how the connection goes on. `memo`: for values that are derived from these."""

    __slots__ = ("memo",)

    def __init__(self) -> None:
        self.memo: object = None


@dataclasses.dataclass(slots=True, eq=False)
class FieldBlock:
    """What the fields of a head say, whatever the request line was.

    Shared by all requests with the same fields. `memo` is for values that are derived from these once;
    nothing else is changed. `shape`: None if a field occurs twice.
    """

    fields: dict[str, list[str]]
    host: str | None
    body_bytes: int  # declared length, 0 without one, or CHUNKED
    close: bool  # `Connection: close`
    keep_alive: bool  # `Connection: keep-alive`
    expects_continue: bool
    memo: object = None
    shape: Shape | None = None


class _Known(NamedTuple):
    """A head: its lines, and for each the field and its beginning; None if its value must be parsed."""

    lines: list[bytes]
    begins: list[tuple[str, bytes] | None]
    block: FieldBlock


class SimilarFields:
    """`parse`: of field lines, each with its end. Raises Refusal for what is none.

    `normalized`: the key of a field's name.
    """

    def __init__(self, parse: Callable[[bytes], FieldBlock], normalized: Callable[[str], str]) -> None:
        self._parse = parse
        self._normalized = normalized
        self._known: dict[tuple[int, bytes], _Known] = {}

    def block(self, data: bytes) -> FieldBlock:
        """What `parse` says of `data`, with a shape."""
        lines = data.split(b"\r\n")
        if lines[-1]:  # a line without its end
            return self._parse(data)
        key = (len(lines), lines[0][:_KEY_BYTES])
        known = self._known.get(key)
        found = None if known is None else _changed(known, lines)
        if found is None:
            found = self._parse(data)
            begins = self._begins(lines)
            if len(found.fields) < len(begins):  # one stands there twice
                return found
            found.shape = Shape()
            if len(self._known) >= _MAX_KNOWN and key not in self._known:
                self._known.clear()
        else:
            assert known is not None
            begins = known.begins
        self._known[key] = _Known(lines, begins, found)
        return found

    def _begins(self, lines: list[bytes]) -> list[tuple[str, bytes] | None]:
        begins: list[tuple[str, bytes] | None] = []
        for line in lines[:-1]:
            raw = line.partition(b":")[0]
            name = self._normalized(raw.decode("latin1"))
            begins.append(None if name in _JUDGED else (name, raw + b":"))
        return begins


def _changed(known: _Known, lines: list[bytes]) -> FieldBlock | None:
    """The block of `lines`, as many as those of the known head; None if they must be parsed."""
    block = known.block
    fields = None
    body_bytes = block.body_bytes
    old = known.lines
    for at, line in enumerate(lines):
        if line == old[at]:
            continue
        begin = known.begins[at] if line else None
        if begin is None or not line.startswith(begin[1]):
            return None
        name, raw = begin
        value = line[len(raw) :].strip(b" \t")
        if not _value(value):
            return None
        if name == _LENGTH:
            if not _digits(value):
                return None
            body_bytes = int(value)
        if fields is None:
            fields = block.fields.copy()
        fields[name] = [value.decode("latin1")]
    if fields is None:
        return block
    return FieldBlock(
        fields,
        block.host,
        body_bytes,
        block.close,
        block.keep_alive,
        block.expects_continue,
        None,
        block.shape,
    )
