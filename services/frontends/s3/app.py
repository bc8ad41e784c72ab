"""The S3 front end as an application: every path is its own."""

from __future__ import annotations

from typing import Any

from tornado.web import Application

from common.config import Config
from services.access.decisions import Access
from services.frontends.s3.handler import S3Handler
from services.frontends.s3.names import s3_hosts
from services.frontends.s3.parts_in_blobs import parts_of
from services.store import Store
from services.watch.request_log import RequestLog


def make_s3_app(
    store: Store, config: Config, access: Access, requests: RequestLog, *, base: str = ""
) -> Application:
    """The application that serves `store` as S3.

    `base`: what its paths begin with, without a slash at the end.
    """
    shared: dict[str, Any] = {
        "store": store,
        "parts": parts_of(store),
        "config": config,
        "access": access,
        "base": base,
        "hosts": s3_hosts(config),
    }
    return Application(
        [(r".*", S3Handler, shared)],
        log_function=requests.handled,
        cross_origin_protection=True,  # no page of another site makes a browser write where nobody signs
    )
