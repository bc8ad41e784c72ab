"""The table of resources: from path to handler."""

from __future__ import annotations

from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import Application

from common.config import Config
from services.access.decisions import Access
from services.engine import Admin
from services.frontends.native.base import MisdirectedHandler, ServerHandler, UnknownHandler
from services.frontends.native.blobs import BlobHandler
from services.frontends.native.blobs_by_id import BlobByIdHandler, BlobsHandler, Pages
from services.frontends.native.dashboard import DashboardHandler
from services.frontends.native.downloads import DownloadHandler, TicketHandler, Tickets
from services.frontends.native.kept import BlobDataHandler, UndeleteHandler
from services.frontends.native.listings import ListingHandler
from services.frontends.native.live import EventsHandler, LiveFeed
from services.frontends.native.openapi import OpenApiHandler
from services.frontends.native.session import SessionHandler
from services.frontends.native.status import HealthHandler, MetricsHandler
from services.store import Store
from services.watch.monitor import Monitor


class Resources(Application):
    """All requests under a host name that `access` allows; every front end is behind this."""

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """See Application."""
        shared = self.settings["shared"]
        if shared["access"].hosts.allows(request.headers.get("Host")):
            return super().find_handler(request, **kwargs)
        return self.get_handler_delegate(request, MisdirectedHandler, shared)


def make_app(store: Store, admin: Admin, config: Config, monitor: Monitor, access: Access) -> Application:
    """The application that serves `store` to the clients that `access` admits.

    `monitor` counts the requests and answers for the server itself. Handlers find store, configuration and
    access in their `initialize`.
    """
    live = LiveFeed(monitor)
    access.on_replaced.append(live.close)  # who may still listen comes back
    shared: dict[str, Any] = {"store": store, "config": config, "access": access}
    return Resources(
        [
            (r"/", DashboardHandler, shared),
            (r"/dashboard/(.*)", DashboardHandler, shared),
            (r"/events", EventsHandler, shared),
            (r"/session", SessionHandler, shared),
            (r"/tickets/.+", TicketHandler, shared),
            (r"/downloads/[^/]+", DownloadHandler, shared),
            (r"/healthz", HealthHandler, shared),
            (r"/metrics", MetricsHandler, shared),
            # A slash at the end, percent-encoded or not, makes it a folder.
            (r"/store/(?:.*(?:/|%2[Ff]))?", ListingHandler, shared),
            (r"/store/.*", BlobHandler, shared),
            (r"/blobs/", BlobsHandler, shared),
            (r"/blobs/[^/]+", BlobByIdHandler, shared),
            (r"/blobs/[^/]+/data", BlobDataHandler, shared),
            (r"/blobs/[^/]+/undelete", UndeleteHandler, shared),
            (r"/openapi\.json", OpenApiHandler, shared),
            (r"\*", ServerHandler, shared),
        ],
        default_handler_class=UnknownHandler,
        default_handler_args=shared,
        admin=admin,
        shared=shared,
        monitor=monitor,
        live=live,
        tickets=Tickets(access),
        pages_by_id=Pages(),
        log_function=monitor.requests.handled,
        cross_origin_protection=True,  # no page of another site, or stored here, makes a browser write
    )
