"""The state of the server: /healthz for load balancers and people, /metrics for Prometheus."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import cast

import msgspec

from services.access.decisions import Action
from services.frontends.native.base import BaseHandler
from services.rules.answers import error_body
from services.watch.monitor import Monitor


class StatusHandler(BaseHandler):
    """A resource that the monitor answers. Caches must not keep it."""

    @property
    def monitor(self) -> Monitor:
        """The server's one."""
        return cast(Monitor, self.settings["monitor"])

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")


class HealthHandler(StatusHandler):
    """/healthz: 200 and "Ok!" while blobs can be written and read, 503 and why otherwise.

    With ?verbose, the same status and all that is known (see monitor.Snapshot), with locations of damaged
    blobs: only for clients that may see everything.
    """

    PUBLIC = True  # load balancers and supervisors have no token

    async def get(self) -> None:
        """See the class."""
        if self.get_query_arguments("verbose"):
            if not self.access.is_open:
                client = await self.access.identify(self.request.headers.get("Authorization"))
                client.check(Action.READ, None)
            now = await self.monitor.look()
            self.set_status(200 if now.ready else 503)
            self.set_header("Content-Type", "application/json")
            self.finish(msgspec.json.format(msgspec.json.encode(now), indent=1) + b"\n")
            return
        wrong = [check for check in await self.monitor.checks() if check.vital and not check.ok]
        if wrong:
            self.set_status(503)
            self.set_header("Content-Type", "application/json")
            self.finish(error_body(503, " ".join(check.text for check in wrong)))
            return
        self.send_json("Ok!")

    head = get


class MetricsHandler(StatusHandler):
    """/metrics"""

    async def get(self) -> None:
        """Prometheus' text format, version 0.0.4."""
        if "exposition" not in self.settings:
            # Prometheus' library takes 20 ms to import: not in every start, and not on the event loop.
            metrics = await asyncio.to_thread(import_module, "services.watch.metrics")
            self.settings.setdefault("exposition", metrics.Exposition(self.monitor))
        text = await self.settings["exposition"].text()
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.finish(text)

    head = get
