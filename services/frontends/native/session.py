"""GET /session: who the client is, what it may do, and which server this is. The dashboard uses it.

    {"open": false, "user": "ann", "role": "read-write", "prefix": "photos/", "links": true,
     "keep_deleted_s": 604800.0, "server": null}

It tells a client no more than it may see: nothing about the server, unless it may see everything.
"""

from __future__ import annotations

import functools
import socket

from common.config import Config
from common.version import VERSION
from services.access.decisions import Action, Client
from services.frontends.native.status import StatusHandler


class SessionHandler(StatusHandler):
    """/session: 200 for everybody; 401 if a wrong secret is sent."""

    PUBLIC = True  # a client without a token must learn that it needs one

    async def get(self) -> None:
        """See the module docstring. `role`: null for who has not said who they are. `links`: whether a signed
        link can be had (POST /tickets/)."""
        client: Client | None = None
        authorization = self.request.headers.get("Authorization")
        if not self.access.is_open and authorization:
            client = await self.access.identify(authorization)
            self.user = client.name
        sees_all = self.access.is_open or (client is not None and client.may(Action.READ, None))
        self.send_json(
            {
                "open": self.access.is_open,
                "user": client.name if client is not None else None,
                "role": client.role if client is not None else "read-write" if self.access.is_open else None,
                "prefix": client.prefix if client is not None else "",
                "links": client is not None and bool(self.access.link_key),
                "keep_deleted_s": _keep_deleted_s(self.config) if client or self.access.is_open else 0.0,
                "server": _server(self.config) if sees_all else None,
            }
        )

    head = get


def _keep_deleted_s(config: Config) -> float:
    """For how long a blob can be brought back; 0: not at all."""
    return config.keep_deleted_s if config.engine == "local" else 0.0


@functools.lru_cache(1)
def _server(config: Config) -> dict[str, str]:
    """Which one it is. `place`: where its blobs are."""
    place = config.dir
    if config.engine == "objects":
        place = f"{config.objects_endpoint or 'AWS'} {config.objects_bucket}/{config.objects_prefix}"
    return {"name": socket.gethostname(), "version": VERSION, "listen": config.listen, "place": place}
