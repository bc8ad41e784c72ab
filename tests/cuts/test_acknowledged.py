"""What is answered is durable: no cut of the power loses an upload in parts, a part, an abort, or a backup.

The campaigns cut the power at any moment of a whole server. Here it is cut only at the moments of an answer,
so that each of the syncs before it is missed at once where it is left out.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tornado.netutil import bind_sockets
from tornado.web import Application

from common import durable
from common.config import Config
from services.access.decisions import Access
from services.engines.local.serving.data_writer import PAST_CACHE_BYTES
from services.frontends.front_door import FrontDoor
from services.frontends.native.fast_path import FastPath
from services.listening import make_server
from services.store import Content
from services.tools.new_file import write_new_file
from services.watch.request_log import RequestLog
from tests.cuts.cuts import one_image
from tests.cuts.disk import Disk, Image
from tests.cuts.recorder import ListLog, recording
from tests.engines.test_multiparts import send
from tests.support.stores import opened

SEED = int(os.environ.get("CAMPAIGN_SEED") or 1)
DISKS = 60  # after each answer
# Of equal length in the place that they have in the blob; sent again, in a file of its own.
PARTS = ((1, 3000), (2, 3000), (2, 2000), (3, 10))


class Answers:
    """What was answered when, and what every disk must show from then on."""

    def __init__(self, top: Path) -> None:
        self.log = ListLog()
        self.rng = random.Random(SEED)
        self._disk = Disk(str(top))
        self._given: list[tuple[int, str, Callable[[Image], bool]]] = []

    def now(self, what: str, shows: Callable[[Image], bool]) -> None:
        """`what` was answered just now."""
        self._given.append((len(self.log.ops), what, shows))

    def judge(self) -> None:
        """Cut the power at the moment of each answer."""
        print(f"SEED={SEED}")  # noqa: T201 - shown where it fails
        done = 0
        for count, what, shows in self._given:
            for op in self.log.ops[done:count]:
                self._disk.apply(op)
            done = count
            for _ in range(DISKS):
                model, image = one_image(self._disk, self.rng)
                assert shows(image), f"{model}: {what} is lost"


def has(end: str, wanted: bytes) -> Callable[[Image], bool]:
    """Whether a file whose path ends so has these bytes."""
    return lambda image: any(path.endswith(end) and wanted in (found or b"") for path, found in image.items())


def test_an_upload_its_parts_and_its_end_are_durable_when_they_are_answered(tmp_path: Path) -> None:
    answers = Answers(tmp_path)

    async def main() -> None:
        async with opened(str(tmp_path / "data")) as made:
            parts = made.store.multiparts
            upload = await parts.create_multipart("a/b", Content())
            record = f"/{upload.id}/upload.json"
            answers.now("the upload", has(record, b'"a/b"'))
            for number, size in PARTS:
                body = answers.rng.randbytes(size)
                part = await send(parts, upload, number, body)
                answers.now(f"a part of {size} bytes", has("", body))
                answers.now("the line of a part", has(f"/{upload.id}/parts.log", part.id.encode()))
            await parts.abort_multipart("a/b", upload.id)
            answers.now("the abort", lambda image: not has(record, b"")(image))

    with recording(answers.log):
        asyncio.run(main())
    answers.judge()


def test_a_small_body_is_durable_when_a_front_end_answers(tmp_path: Path) -> None:
    """Over S3 and restic, by their own ways for a body that came with its head."""
    answers = Answers(tmp_path)
    bodies = [answers.rng.randbytes(500) for _ in range(3)]
    requests = [
        ("PUT", "127.0.0.1", "/bucket/key", bodies[0]),
        ("PUT", "127.0.0.1", "/bucket/key", bodies[1]),  # which replaces it
        ("POST", "localhost", f"/restic/r/data/{hashlib.sha256(bodies[2]).hexdigest()}", bodies[2]),
    ]

    async def main() -> None:
        async with opened(str(tmp_path / "data")) as made:
            store: Any = made.store
            config, log, access = Config(s3_hosts="127.0.0.1", restic=True), RequestLog(), Access()
            door = FrontDoor(Application(), store, config, access, log)
            fast = FastPath(door, store, access, log, config, door.is_s3_host)
            server, drain = make_server(fast, config, log, None)
            sockets = bind_sockets(0, "127.0.0.1")
            server.add_sockets(sockets)
            reader, writer = await asyncio.open_connection(*sockets[0].getsockname()[:2])
            for method, host, target, body in [("PUT", "127.0.0.1", "/bucket", b""), *requests]:
                head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                if body:
                    answers.now("the body", has("", body))
                    answers.now("its state", has("", hashlib.sha256(body).hexdigest().encode()))
            writer.close()
            await drain(5)
            await server.close_all_connections()

    with recording(answers.log):
        asyncio.run(main())
    answers.judge()


def test_a_blob_that_goes_past_the_page_cache_is_durable_when_it_is_answered(tmp_path: Path) -> None:
    answers = Answers(tmp_path)

    async def main() -> None:
        async with opened(str(tmp_path / "data")) as made:
            for size in (1 << 20, (1 << 20) + 5000):
                body = answers.rng.randbytes(size)
                blob = await made.put_lent("a", body, PAST_CACHE_BYTES)
                answers.now("the body", has("", body))
                answers.now("its state", has("", blob.sha256.hex().encode()))

    with recording(answers.log):
        asyncio.run(main())
    answers.judge()


def test_what_export_and_get_write_is_durable_when_they_end(tmp_path: Path) -> None:
    answers = Answers(tmp_path)
    with recording(answers.log):
        write_new_file(str(tmp_path / "a.tar"), lambda fd: durable.write_all(fd, b"a backup" * 500))
        answers.now("the backup", has("a.tar", b"a backup" * 500))
    answers.judge()
