"""The output of commands: tables and coloured states for people, one JSON document for programs.

Text from a client (a location, a media type, a message) cannot move the cursor or forge a line: unprintable
characters are escaped, also in JSON. There are colours only on a terminal, and none with NO_COLOR.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from common.logs import one_line

_RESET = "\x1b[0m"
_BOLD = "\x1b[1m"
_GREEN, _YELLOW, _RED = "\x1b[32m", "\x1b[33m", "\x1b[31m"
_OF_STATE = {"OK": _GREEN, "Pending": _YELLOW, "Failure": _RED, "damaged": _BOLD + _RED}


class Coloured(NamedTuple):
    """A text and the terminal's command for its colour."""

    text: str
    colour: str


Cell = str | int | Coloured


class Output:
    """The output of one command. `as_json`: it is one JSON document, by `document`, and no text."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        dumb = os.environ.get("TERM", "dumb") == "dumb"
        self._colours = sys.stdout.isatty() and not dumb and not os.environ.get("NO_COLOR")

    def document(self, value: object) -> None:
        """The JSON document, in ASCII."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, indent=2) + "\n")

    def line(self, *parts: Cell) -> None:
        """One line of text; nothing where JSON is wanted."""
        if not self.as_json:
            sys.stdout.write("".join(self._painted(part, _text(part)) for part in parts) + "\n")

    def text(self, name: str, text: str, **more: str) -> None:
        """A whole text, line by line; in JSON it is the member `name`, after `more`."""
        self.document({**more, name: text})
        for line in text.splitlines():
            self.line(line)

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
        """Rows under headings (in capitals); numbers to the right. Nothing where JSON is wanted."""
        if self.as_json:
            return
        cells = [list(row) for row in rows]
        texts = [[heading.upper() for heading in headings], *([_text(cell) for cell in row] for row in cells)]
        widths = [max(len(line[column]) for line in texts) for column in range(len(headings))]
        last = len(headings) - 1
        for number, line in enumerate(texts):
            parts = []
            for column, text in enumerate(line):
                cell: Cell = cells[number - 1][column] if number else Coloured(text, _BOLD)
                right = bool(cells) and isinstance(cells[0][column], int)
                padding = " " * (widths[column] - len(text)) if right or column < last else ""
                painted = self._painted(cell, text)
                parts.append(padding + painted if right else painted + padding)
            sys.stdout.write("  ".join(parts) + "\n")

    def _painted(self, part: Cell, text: str) -> str:
        if self._colours and isinstance(part, Coloured) and part.colour:
            return part.colour + text + _RESET
        return text


def state(word: str) -> Coloured:
    """A state in its colour: OK green, Pending yellow, Failure red."""
    return Coloured(word, _OF_STATE.get(word, ""))


def size(size_bytes: int) -> str:
    """`999 bytes`, or with the binary unit that fits: `1.2 MiB (1,234,567 bytes)`."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size_bytes >= 1 << power:
            return f"{size_bytes / (1 << power):.1f} {unit} ({size_bytes:,} bytes)"
    return f"{size_bytes:,} bytes"


def _text(part: Cell) -> str:
    if isinstance(part, Coloured):
        return part.text
    return f"{part:,}" if isinstance(part, int) else one_line(part)
