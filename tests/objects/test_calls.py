"""Function calls of our code for each request of a server on an object store."""

from __future__ import annotations

import socket

from tornado.web import Application

from common.options import Config
from services.access.decisions import Access
from services.engine import Events
from services.engines.objects.client import BucketClient, SystemClock
from services.engines.objects.commit import Tools
from services.engines.objects.connections import Connections
from services.engines.objects.meter import Meter
from services.engines.objects.pointers import Pointers
from services.engines.objects.settings import Settings
from services.engines.objects.store import ObjectsStore
from services.frontends.native.fast_path import FastPath
from services.http1 import HTTPServer, RequestContext
from services.http1.connection import Connection
from services.watch.request_log import RequestLog
from tests.objects.scripted import Scripted, run, whole
from tests.perf.test_calls import Awaited
from tests.support.work import OwnCalls

# From the bytes of the client to those for it. It was 282 when each write had a state object, whether or not
# it needed one, and when all of the signature was put together anew.
CALLS_OF_A_CREATE = 256
_BODY = b"x" * 1024
_TIMES = 6  # the first ones make what is kept; a timer may come in between


def test_a_create_makes_no_more_calls_than_recorded() -> None:
    calls: list[int] = []

    async def test(_connections: Connections, settings: Settings, _store: Scripted) -> None:
        connection, wire = _connected(settings)
        for number in range(_TIMES):
            wire.answered.clear()
            counted = OwnCalls()
            counted.start()
            connection.data_received(
                b"POST /store/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1024\r\n\r\n" % number + _BODY
            )
            await wire.answered.wait()
            calls.append(counted.stop())
            assert wire.written.startswith(b"HTTP/1.1 201 ")
        connection.connection_lost(None)

    store = run([[whole(b"")]] * _TIMES, test)
    assert store.connections == 1
    assert all(b"if-none-match:*\r\n" in head for head in store.heads)
    assert min(calls) <= CALLS_OF_A_CREATE


def _connected(settings: Settings) -> tuple[Connection, Awaited]:
    """A client's connection to a server on this store."""
    bucket, clock = BucketClient(settings, Meter()), SystemClock()
    tools = Tools(bucket, Pointers(bucket, clock), clock)
    store = ObjectsStore(tools, Events(), inline_bytes=1 << 20, part_bytes=4 << 20)
    server = HTTPServer(FastPath(Application(), store, Access(), RequestLog(), Config()))
    server._the_loop()
    connection = Connection(server, RequestContext(socket.AF_INET, ("127.0.0.1", 1), "http", None))
    wire = Awaited()
    connection.connection_made(wire)
    return connection, wire
