"""The keys of objects in the bucket: from locations to keys that sort as locations do, and back. Pure.

    <prefix>loc/<name>            the pointer of a location
    <prefix>data/<name><txn>-<part>  bytes too large for a pointer, see `part_key`
    <prefix>gc/<txn>              the state object of an unfinished or superseded write
    <prefix>damaged/<txn>         a note of the verifier: this data is kept for people

A write has no folder of its own: SeaweedFS removes folders when they become empty, and an object that is
created at that moment can be read, but is never listed.

A LIST of pointers by key must give locations in the order of their code points, so a name is an escaped
location. Three properties of real stores determine the escape:

- Some treat "/" as folders, and cannot hold both `a` and `a/b`. So names have no "/". A long name is cut into
  folders, and then no folder has the name of an object.
- SeaweedFS refuses segments over 255 bytes, and S3 keys over 1,024 bytes.
- Control characters, backslashes and U+FFFE, U+FFFF do not survive in XML listings or in paths.

Each escaped character keeps its place in the order: it becomes its lower neighbour and a second character.
No escape is the beginning of another, so names compare as locations do. "!" ends a name and sorts before all
characters in names, so `a` comes before `ab`.
"""

from __future__ import annotations

import hashlib
import re
import sys

LOC = "loc/"
DATA = "data/"
GC = "gc/"
DAMAGED = "damaged/"

# The longest prefix that an operator may set, so that no key is over 1,024 bytes.
MAX_PREFIX_BYTES = 100

_END = "!"  # ends a name; lower than all that stands in one
_FOLDER = "-/"  # between two segments of a long name: above _END, so the folder sorts after the object
_SEGMENT_BYTES = 190  # a segment ends with the first character that brings it to this; 255 with all suffixes
_MAX_STEM_BYTES = 830  # the rest of a longer one is replaced by a digest
_DIGEST_CHARS = 40

_LOW = "$"  # U+0000 to U+0024: this and one of _TAILS
_TAILS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZa"
_ESCAPES = {
    **{chr(code): _LOW + tail for code, tail in enumerate(_TAILS)},
    ".": ".0",
    "/": ".1",
    "[": "[0",
    "\\": "[1",
    "~": "~0",
    "\x7f": "~1",
    "\ufffd": "\ufffd0",
    "\ufffe": "\ufffd1",
    "\uffff": "\ufffd2",
}
_TABLE = str.maketrans(_ESCAPES)
_FIRSTS = "$.[~"  # the first of two characters that stand for one of ASCII; nowhere else in a stem
_UNESCAPES = {escape: char for char, escape in _ESCAPES.items()}
_ESCAPE = re.compile("|".join(re.escape(escape) for escape in _UNESCAPES))


def escape(location: str) -> str:
    """`location`, or the beginning of one, with all that a key cannot hold escaped. Keeps the order."""
    return location.translate(_TABLE)


def unescape(stem: str) -> str:
    """The inverse of `escape`."""
    return _ESCAPE.sub(lambda found: _UNESCAPES[found[0]], stem)


def name_of(location: str) -> str:
    """The name of a location. It is unique, and names sort as locations do, except if `is_grouped`."""
    segments, rest = _segments(location)
    if rest:
        digest = hashlib.sha256(location.encode()).hexdigest()[:_DIGEST_CHARS]
        return _FOLDER.join(segments) + "-" + digest + _END
    return _FOLDER.join(segments) + _END


def is_grouped(location: str) -> bool:
    """Whether its name ends in a digest: such names sort as locations only up to their first 830 bytes."""
    return bool(_segments(location)[1])


def location_of(name: str) -> str | None:
    """The location of a name; None if it ends in a digest: then only the pointer has the location."""
    stem = name.removesuffix(_END).replace(_FOLDER, "")
    location = unescape(stem)
    return location if len(stem) < _MAX_STEM_BYTES // 4 or name_of(location) == name else None


def before_group(location: str) -> str:
    """The name before all that share the first 830 bytes of a grouped location."""
    return _FOLDER.join(_segments(location)[0]) + _END


def start_of(prefix: str) -> str:
    """A string below the names of all locations that begin with `prefix`. It is not a name itself."""
    return _FOLDER.join(_segments(prefix)[0])


def end_of(prefix: str) -> str:
    """A string above the names of all locations that begin with `prefix`, and below all higher names.

    Empty if there are no higher names.
    """
    start = start_of(prefix)
    while start and ord(start[-1]) == sys.maxunicode:
        start = start[:-1]
    if not start:
        return ""
    if start[-1] == "-":
        return start[:-1] + ".!"  # a lone "." may be no segment; every name beyond has ".0" or more
    code = ord(start[-1]) + 1
    return start[:-1] + chr(0xE000 if 0xD800 <= code < 0xE000 else code)


def pointer_key(location: str) -> str:
    """The key of a location's pointer."""
    stem = location.translate(_TABLE)  # most are short: `name_of` gives the same with three calls more
    return f"{LOC}{stem}{_END}" if len(stem) * 4 < _SEGMENT_BYTES else LOC + name_of(location)


def part_key(location: str, txn: str, part: int) -> str:
    """The key of one part of the data that the write `txn` brought, counted from 0."""
    return f"{data_stem(location, txn)}{part:05x}"


def sums_key(location: str, txn: str) -> str:
    """The key of the checksums of its chunks, where they are too many for the pointer."""
    return f"{data_stem(location, txn)}sums"


def data_stem(location: str, txn: str) -> str:
    """What the keys of all data of the write `txn`, and no others, begin with."""
    return f"{DATA}{name_of(location)}{txn}-"


def owner_of(data_key: str) -> tuple[str, str] | None:
    """(name, txn) of a key under data/; None if it is not ours."""
    head, dash, _ = data_key.removeprefix(DATA).rpartition("-")
    name, end, txn = head.rpartition(_END)
    return (name + end, txn) if dash and end and txn else None


def gc_key(txn: str) -> str:
    """The key of the state object of the write `txn`. They sort by age."""
    return GC + txn


def damaged_key(txn: str) -> str:
    """The key of the note that the data of the write `txn` is damaged."""
    return DAMAGED + txn


def _segments(text: str) -> tuple[list[str], bool]:
    """The segments of the name of `text`, and whether it was cut at 830 bytes.

    The end of a segment depends only on what precedes it, never on what follows: else two names with a common
    beginning would not compare as their locations do.
    """
    stem = escape(text)
    if len(stem) * 4 < _SEGMENT_BYTES:
        return [stem], False
    return _segments_of_ascii(stem) if stem.isascii() else _segments_of_any(text)


def _segments_of_ascii(stem: str) -> tuple[list[str], bool]:
    """The same of an escaped text with a byte a character: a few calls, not six for each character."""
    whole = _cut(stem, _MAX_STEM_BYTES)
    segments: list[str] = []
    begin = 0
    while begin < whole:
        end = min(_cut(stem, begin + _SEGMENT_BYTES), whole)
        segments.append(stem[begin:end])
        begin = end
    return segments, len(stem) > whole


def _cut(stem: str, size: int) -> int:
    """Where the character ends that brings `stem` to `size` bytes."""
    return size + (stem[size - 1] in _FIRSTS) if len(stem) > size else len(stem)


def _segments_of_any(text: str) -> tuple[list[str], bool]:
    segments: list[str] = []
    segment: list[str] = []
    length = total = 0
    for char in text:
        if total >= _MAX_STEM_BYTES:
            return [*segments, "".join(segment)], True
        if length >= _SEGMENT_BYTES:
            segments.append("".join(segment))
            segment, length = [], 0
        code = _ESCAPES.get(char, char)
        segment.append(code)
        size = len(code.encode())
        length += size
        total += size
    return [*segments, "".join(segment)], False
