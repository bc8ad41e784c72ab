"""Pages of listings, as a client reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from tests.support.processes import Server


def page(server: Server, target: str, **query: object) -> dict[str, Any]:
    answer = server.ask("GET", target + ("?" + urlencode(query) if query else ""))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    found: dict[str, Any] = json.loads(answer.body)
    return found


def pages(server: Server, target: str, **query: object) -> Iterator[dict[str, Any]]:
    after: dict[str, object] = {}
    while True:
        found = page(server, target, **query, **after)
        yield found
        if found["next"] is None:
            return
        after = {"after": found["next"]}
