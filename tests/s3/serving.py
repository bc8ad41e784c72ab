"""The S3 front end on a store in memory, in this process, for botocore and raw requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import boto3
from botocore.config import Config as BotoConfig
from tornado.httputil import HTTPMessageDelegate
from tornado.netutil import bind_sockets

from common.config import Config
from services.access.decisions import Access, Client, Role
from services.access.secret_hash import NoSecret
from services.frontends.s3.app import S3FrontEnd
from services.http1 import Exchange, RequestContext, RequestHead
from services.listening import make_server
from services.watch.request_log import RequestLog
from tests.support.beside import beside
from tests.support.memory_store import MemoryStore

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CLIENTS = (
    Client("alice", Role.READ_WRITE, "", NoSecret(), SECRET),
    Client("reader", Role.READ_ONLY, "", NoSecret(), SECRET),
    Client("adder", Role.APPEND_ONLY, "", NoSecret(), SECRET),
    Client("photos", Role.READ_WRITE, "photos/2024/", NoSecret(), SECRET),
)


class Served:
    """A front end that listens on `port`; `store` is what it serves. `quick`: for each request that the
    fast path might answer, whether it did.
    """

    def __init__(self, store: MemoryStore, port: int, access: Access) -> None:
        self.store = store
        self.port = port
        self.quick: list[bool] = []
        self.access = access

    def client(self, name: str = "alice", **options: Any) -> Any:
        """A client of boto3."""
        how = {"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}, **options}
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name=how.pop("region", "us-east-1"),
            aws_access_key_id=name,
            aws_secret_access_key=how.pop("secret", SECRET),
            config=BotoConfig(**how),
        )


def served(
    *,
    is_open: bool = False,
    connection: str = "blobkeep",
    make_store: Callable[[], Any] = MemoryStore,
    **options: Any,
) -> AbstractContextManager[Served]:
    """Serves from a thread with a loop of its own until the end. `make_store`: called on that loop."""
    return beside(_served(is_open, Config(http=connection, **options), make_store))


@asynccontextmanager
async def _served(is_open: bool, config: Config, make_store: Callable[[], Any]) -> AsyncIterator[Served]:
    store = make_store()
    requests = RequestLog()
    access = Access(None if is_open else CLIENTS, config.public.split(",") if config.public else [])
    s3 = S3FrontEnd(store, config, access, requests)
    sockets = bind_sockets(0, "127.0.0.1")
    front = Served(store, sockets[0].getsockname()[1], access)
    app, fast_path = s3.app, s3.fast_path

    def quick_answer(head: RequestHead, context: RequestContext) -> tuple[bytes, bytes | memoryview] | None:
        answer = fast_path.quick_answer(head, context)
        front.quick.append(answer is not None)
        return answer

    take = fast_path.take

    def counted(exchange: Exchange) -> HTTPMessageDelegate | None:
        taken = take(exchange)
        if exchange.head.start_line.method == "PUT":
            front.quick.append(taken is not None)
        return taken

    vars(fast_path)["take"] = counted
    if config.fast_path:
        server, drain = make_server(fast_path, config, requests, None, quick_answer)
    else:
        server, drain = make_server(app, config, requests, None)
    server.add_sockets(sockets)
    yield front
    await drain(5)
    await server.close_all_connections()
    access.close()
