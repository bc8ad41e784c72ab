"""Function calls for a signed request whose head differs from the last one only in what is signed each time.
See test_calls. Commit c3dadd7 made 198 for a GET, and 286 for a PUT until it waits: for each request it
computed again what all requests of a client have in common. Our code made 282 calls for a small PUT whose
fields say nothing else, until that got a way of its own.
"""

from __future__ import annotations

import asyncio
import socket
import zlib
from pathlib import Path
from typing import Any

from tornado.web import Application

from common.config import Config
from services.access.decisions import Access, Client, Role
from services.access.secret_hash import NoSecret
from services.frontends.front_door import FrontDoor
from services.frontends.native.fast_path import FastPath
from services.frontends.s3.checksums import encoded
from services.http1 import HTTPServer, RequestContext
from services.http1.connection import Connection
from services.watch.request_log import RequestLog
from tests.perf.test_calls import Wire
from tests.s3.signing import signed_by_botocore
from tests.support.stores import opened
from tests.support.work import OwnCalls, calls_of

SECRET = "secret"
CALLS_OF_A_GET = 89
CALLS_OF_A_PUT_UNTIL_IT_WAITS = 139
CALLS_OF_A_PUT_BY_OUR_CODE = 208  # in the thread of the loop, up to the answer
CALLS_OF_A_PUT_WITH_A_CRC = 224  # it was 310


class Answered(Wire):
    """It also tells when."""

    def __init__(self) -> None:
        super().__init__()
        self.came = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self.came.set()


def signed(method: str, target: str, body: bytes = b"", **fields: str) -> bytes:
    said = {name.replace("_", "-"): value for name, value in fields.items()}
    asked = signed_by_botocore(method, f"http://localhost{target}", "alice", SECRET, headers=said, body=body)
    head = {name: values[0] for name, values in asked.headers.items() if name != "host"}
    head["content-length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in head.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_what_is_signed_anew_makes_no_more_calls_than_recorded(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(str(tmp_path)) as opened_store:
            config = Config(s3_hosts="localhost")
            access = Access([Client("alice", Role.READ_WRITE, "", NoSecret(), SECRET)])
            requests = RequestLog()
            store: Any = opened_store.store
            door = FrontDoor(Application(), store, config, access, requests)
            fast_path = FastPath(door, store, access, requests, config, door.is_s3_host)
            server = HTTPServer(fast_path)
            server.quick_answer = door.quick_answer(fast_path.quick_answer)
            server._the_loop()
            wire = Answered()
            connection = Connection(server, RequestContext(socket.AF_INET, ("127.0.0.1", 1), "http", None))
            connection.connection_made(wire)

            async def answer_to(request: bytes) -> bytes:
                wire.came.clear()
                connection.data_received(request)
                await wire.came.wait()
                return wire.written

            assert (await answer_to(signed("PUT", "/bucket"))).startswith(b"HTTP/1.1 200")
            for name in "abc":
                assert b" 200 OK" in await answer_to(signed("PUT", f"/bucket/{name}", b"x" * 1024))
            # The least of some counts: a second may end between two of them, and with it what was computed
            # for it.
            put_calls, get_calls = [], []
            for name in "def":
                put = signed("PUT", f"/bucket/{name}", b"x" * 1024)
                wire.came.clear()
                put_calls.append(calls_of(lambda put=put: connection.data_received(put)) - 2)  # type: ignore[misc]
                await wire.came.wait()
            own = OwnCalls()

            async def own_calls(names: str, **fields: str) -> int:
                counted = []
                for name in names:
                    wire.came.clear()
                    put = signed("PUT", f"/bucket/{name}", b"x" * 1024, **fields)
                    own.start()
                    connection.data_received(put)
                    await wire.came.wait()
                    counted.append(own.stop())
                return min(counted)

            assert await own_calls("ghi") <= CALLS_OF_A_PUT_BY_OUR_CODE
            crc = encoded(zlib.crc32(b"x" * 1024).to_bytes(4, "big"))
            as_boto3 = {"x_amz_checksum_crc32": crc, "x_amz_sdk_checksum_algorithm": "CRC32"}
            assert await own_calls("jklmn", **as_boto3) <= CALLS_OF_A_PUT_WITH_A_CRC
            for name in "abcdefdef":
                get = signed("GET", f"/bucket/{name}")
                get_calls.append(calls_of(lambda get=get: connection.data_received(get)) - 2)  # type: ignore[misc]
                if not wire.written.endswith(b"x" * 1024):
                    await answer_to(get)
            assert wire.written.endswith(b"x" * 1024)
            assert min(put_calls) <= CALLS_OF_A_PUT_UNTIL_IT_WAITS
            assert min(get_calls) <= CALLS_OF_A_GET
            connection.connection_lost(None)

    asyncio.run(test())
