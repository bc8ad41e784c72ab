"""When a blob expires: by a time of its own (`Blob-Expires`), else by the option `expire`. Pure."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from services.rules.dates import parse_http_date
from services.rules.metadata import EXPIRES


def own_time_s(metadata: Mapping[str, str]) -> int | None:
    """The blob's own time, as Unix time; None if it has none."""
    return _seconds(metadata.get(EXPIRES, ""))


class ByPrefix:
    """`rules`: (prefix, seconds from when a blob was written). The longest prefix wins."""

    def __init__(self, rules: Sequence[tuple[str, float]]) -> None:
        self._rules = sorted(rules, key=lambda pair: -len(pair[0]))

    def time_s(self, location: str, modified_ns: int) -> float | None:
        """The Unix time at which a blob of `location` expires; None: never."""
        for prefix, after_s in self._rules:
            if location.startswith(prefix):
                return modified_ns / 1e9 + after_s
        return None


@functools.lru_cache(4096)
def _seconds(text: str) -> int | None:
    return parse_http_date(text, 0)
