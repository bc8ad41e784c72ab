"""The id of one write: 26 characters that sort by time. A writer recognises its write by it.

48 bits of Unix time in ms and 80 random bits, in base 32 without i, l, o and u. Only the order in which the
gc reads state objects, and the history of a replaced blob, depend on the time. A blob's id is the txn that
made it and its location, so that the pointer can be found from the id.
"""

from __future__ import annotations

import base64
import functools
import os

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_TIME_CHARS = 10
_RANDOM_CHARS = 16
_RANDOM_DIGITS = (_DIGITS * 8).encode()  # a digit for each byte: 5 random bits
CHARS = _TIME_CHARS + _RANDOM_CHARS


def new_txn(now_ns: int) -> str:
    """A txn that was never used. `now_ns`: Unix time in nanoseconds."""
    random = os.urandom(_RANDOM_CHARS).translate(_RANDOM_DIGITS).decode()
    now_ms = now_ns // 1_000_000
    return (
        _base32(now_ms >> 20, _TIME_CHARS - 4) + _PAIRS[now_ms >> 10 & 1023] + _PAIRS[now_ms & 1023] + random
    )


def begun_ns(txn: str) -> int:
    """When it was made: Unix time in nanoseconds, of whole milliseconds."""
    number = 0
    for digit in txn[:_TIME_CHARS]:
        number = number << 5 | _VALUES[digit]
    return number * 1_000_000


def is_txn(text: str) -> bool:
    """Whether `text` could have come from `new_txn`."""
    return len(text) == CHARS and all(char in _VALUES for char in text)


def blob_id(location: str, txn: str) -> str:
    """The id of the blob that the write `txn` made: printable ASCII without a slash."""
    return f"{txn}.{base64.urlsafe_b64encode(location.encode()).rstrip(b'=').decode()}"


def parse_blob_id(text: str) -> tuple[str, str] | None:
    """(location, txn) of a blob's id; None where it is none."""
    txn, dot, encoded = text.partition(".")
    if not dot or not is_txn(txn):
        return None
    try:
        location = base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True).decode()
    except ValueError:
        return None
    return (location, txn) if blob_id(location, txn) == text else None


@functools.lru_cache(2)
def _base32(number: int, chars: int) -> str:
    """`chars` digits. Kept, since the high bits of the time change only each 17 minutes."""
    return "".join([_DIGITS[number >> shift & 31] for shift in range(5 * chars - 5, -1, -5)])
