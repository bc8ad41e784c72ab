"""The table of resources: which path is whose."""

from __future__ import annotations

from typing import Any

from tornado.web import Application

from common.config import Config
from services.base_handler import UnknownHandler
from services.handlers import BlobHandler, ListHandler
from services.request_log import RequestLog
from services.status import HealthHandler
from services.store import Store


def make_app(store: Store, config: Config, requests: RequestLog) -> Application:
    """The application that serves `store`; it tells `requests` of each. Handlers find both of the first two
    in their `initialize`."""
    shared: dict[str, Any] = {"store": store, "config": config}
    return Application(
        [
            (r"/healthz", HealthHandler, shared),
            (r"/store/", ListHandler, shared),
            (r"/store/(.*)", BlobHandler, shared),
        ],
        default_handler_class=UnknownHandler,
        default_handler_args=shared,
        log_function=requests.handled,
    )
