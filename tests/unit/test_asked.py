"""The action and the location that the native front end gives to access for each request."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httputil import HTTPServerRequest, RequestStartLine
from tornado.web import Application

from common.config import Config
from common.errors import BadRequest
from services.access.decisions import Access, Action
from services.frontends.native.app import make_app
from services.frontends.native.base import BaseHandler
from services.watch.monitor import Monitor
from services.watch.request_log import RequestLog
from tests.support.memory_engine import MemoryEngine

CONNECTION: Any = SimpleNamespace(set_close_callback=lambda callback: None, context=None)


@pytest.fixture
def app(tmp_path: Path) -> Application:
    engine = MemoryEngine(str(tmp_path))
    monitor = Monitor(engine, engine.store, RequestLog())
    return make_app(engine.store, engine.admin(), Config(dir=str(tmp_path)), monitor, Access(None))


def asked(app: Application, method: str, target: str) -> tuple[Action, str | None]:
    request = HTTPServerRequest(
        connection=CONNECTION, start_line=RequestStartLine(method, target, "HTTP/1.0")
    )
    delegate: Any = app.find_handler(request)
    handler: BaseHandler = delegate.handler_class(app, request, **delegate.handler_kwargs)
    return handler.asked()


@pytest.mark.parametrize(
    ("method", "action"),
    [
        *(("GET", Action.READ), ("HEAD", Action.READ), ("OPTIONS", Action.READ)),
        *(("POST", Action.CREATE), ("PUT", Action.CREATE), ("DELETE", Action.DELETE)),
        *(("PATCH", Action.UPDATE), ("QUERY", Action.UPDATE)),
    ],
)
def test_a_method_is_an_action(app: Application, method: str, action: Action) -> None:
    assert asked(app, method, "/store/a") == (action, "a")
    assert asked(app, method, "/metrics") == (action, None)


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/store/team/a", "team/a"),
        ("/store/team/a/b?", "team/a/b"),
        ("/store/te%61m/a", "team/a"),
        ("/store/team%2Fa", "team/a"),
        ("/store/team%252Fa", "team%2Fa"),
        ("/store/team", "team"),
        ("/store/team//a", "team/a"),
        ("/store//team/./a", "team/a"),
        ("/store//secret", "secret"),
        ("/store/./secret", "secret"),
        ("/store/team/", "team/"),
        ("/store/team/x/", "team/x/"),
        ("/store/team%2F", "team/"),
        ("/store/", ""),
        ("/store//", ""),
        ("/store/?prefix=team/", "team/"),
        ("/store/?prefix=team%2Fx", "team/x"),
        ("/store/?prefix=", ""),
        ("/store/?after=team/", ""),
        ("/store/?delimiter=/", ""),
        ("/store/?prefix=team/&after=z", "team/"),
        *(
            (target, None)
            for target in ("/", "/blobs/", "/blobs/7", "/events", "/store", "/nothing?prefix=a")
        ),
    ],
)
def test_a_target_names_a_location_or_the_server(app: Application, target: str, location: str | None) -> None:
    assert asked(app, "GET", target) == (Action.READ, location)


@pytest.mark.parametrize(
    "target",
    [
        "/store/team/../secret",
        "/store/team/%2e%2e/secret",
        "/store/team/%ff",
        "/store/?prefix=team/&prefix=",
        "/store/?prefix=team/&all=1",
        "/store/team/?prefix=other/",
    ],
)
def test_what_no_location_is_gets_no_further(app: Application, target: str) -> None:
    with pytest.raises(BadRequest):
        asked(app, "GET", target)
