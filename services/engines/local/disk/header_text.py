"""Makes sure that a value of a record can be in a header field, whoever wrote the record. Pure.

A directory may come from a backup that somebody made by hand. The bytes of such a blob are as good as their
checksums, so it is served; but a type with a line break in it would begin a header field of its own.
"""

from __future__ import annotations

import re
from sys import intern

from services.engines.local.disk.record_json import DEFAULT_TYPE

_MOST_KEPT = 1000
_FIELD = re.compile(r"[\t -~]{0,255}")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_NAME = re.compile(r"[!-~]+")


class _Clean(dict[str, str]):
    """Types or encodings that were checked; one that cannot be in a header becomes `default`.

    Each is held once, since a store has few different ones.
    """

    def __init__(self, default: str) -> None:
        super().__init__()
        self._default = default

    def __missing__(self, text: str) -> str:
        clean = intern(text if _FIELD.fullmatch(text) else self._default)
        if len(self) < _MOST_KEPT:
            self[text] = clean
        return clean


clean_type = _Clean(DEFAULT_TYPE).__getitem__
clean_encoding = _Clean("").__getitem__


def clean_metadata(found: dict[str, str]) -> dict[str, str]:
    """The metadata without values that cannot be in a header. Names that begin with a dot never are."""
    return {
        name: value
        for name, value in found.items()
        if name.startswith(".") or (_NAME.fullmatch(name) and _VALUE.fullmatch(value))
    }
