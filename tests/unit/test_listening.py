"""A reader's HTTP server has the limits of the server's own."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace

from tornado.httputil import HTTPServerConnectionDelegate

from common.options import OPTIONS, Config
from services.http1 import HTTPServer
from services.listening import make_own_server, make_server
from services.watch.request_log import RequestLog


def test_every_limit_of_the_server_is_a_readers() -> None:
    names = [name for name, option in OPTIONS.items() if option.group == "Limits on clients"]
    changed = replace(Config(), **{name: getattr(Config(), name) + 1 for name in names})
    app = HTTPServerConnectionDelegate()

    async def made() -> tuple[HTTPServer, HTTPServer]:
        requests = RequestLog()
        own, _ = make_server(app, changed, requests, None)
        assert isinstance(own, HTTPServer)
        return own, make_own_server(app, changed, requests, None, lambda head, context: None)

    own, of_reader = asyncio.run(made())
    assert own.limits == of_reader.limits
    assert own.spared is of_reader.spared is not None
    usual, _ = make_server(app, Config(), RequestLog(), None)
    assert isinstance(usual, HTTPServer)
    differ = [
        one.name
        for one in fields(own.limits)
        if getattr(own.limits, one.name) != getattr(usual.limits, one.name)
    ]
    assert len(differ) == len(names)  # so each option counts
