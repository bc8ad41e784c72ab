"""A server starts only on a store that obeys conditions. Otherwise the error names the one that was
ignored.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

import pytest

from common.errors import Unavailable
from services.engines.objects import self_test
from services.engines.objects.bucket import Got, pages
from services.engines.objects.client import BucketClient
from services.engines.objects.meter import Meter
from services.engines.objects.self_test import Unfit
from services.engines.objects.settings import Settings, StoreCredentials
from tests.support.seaweed import Seaweed


class FakeStore(BaseHTTPRequestHandler):
    """As much of S3 as the self-test needs; with faults."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    faults: set[str]
    lock: threading.Lock
    arrived: dict[str, list[bytes]]  # by key, what writes brought

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "denied" in self.faults:
            return self._answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        with self.lock:
            if "late" in self.faults and self._is_late(body):
                return self._answer(500, b"")
            there = self.objects.get(self._key())
            create, match = self.headers.get("If-None-Match"), self.headers.get("If-Match")
            if create and there is not None and "create" not in self.faults:
                return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            if match and "swap" not in self.faults:
                current = "" if there is None else self._etag(there)
                sent = match
                if "quotes" in self.faults:
                    current = current.strip('"')
                if sent != current:
                    return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                if there is None:
                    return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            if match and "no swap" in self.faults:
                return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            if "back" in self.faults and match:
                self.arrived.setdefault(self._key(), []).append(there or b"")
            self.objects[self._key()] = body
        return self._answer(200, b"", self._etag(body))

    def do_GET(self) -> None:
        if "denied" in self.faults:
            return self._answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if "list-type" in query:
            return self._list(query)
        with self.lock:
            data = self.objects.get(self._key())
            if len(replaced := self.arrived.get(self._key(), [])) == 10 and "back" in self.faults:
                data = replaced[-1]
        if data is None:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        have = self.headers.get("If-None-Match")
        if have is not None and "refuses if-none-match" in self.faults:
            return self._answer(400, b"<Error><Code>InvalidArgument</Code></Error>")
        is_told = have == self._etag(data) and "ignores if-none-match" not in self.faults
        if have is not None and (is_told or "always unchanged" in self.faults):
            return self._answer(304, b"", have)
        asked = self.headers.get("Range")
        if asked is None or "ranges" in self.faults:
            return self._answer(200, data, self._etag(data))
        first, _, last = asked.removeprefix("bytes=").partition("-")
        end = min(int(last) + 1, len(data))
        part = data[int(first) : end]
        return self._answer(206, part, self._etag(data), f"bytes {first}-{end - 1}/{len(data)}")

    def do_DELETE(self) -> None:
        with self.lock:
            self.objects.pop(self._key(), None)
        self._answer(204, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        deleted = []
        with self.lock:
            for part in body.split("<Key>")[1:]:
                key = unescape(part.partition("</Key>")[0])
                self.objects.pop(key, None)
                deleted.append(f"<Deleted><Key>{escape(key)}</Key></Deleted>")
        self._answer(200, f"<DeleteResult>{''.join(deleted)}</DeleteResult>".encode())

    def log_message(self, *args: object) -> None:
        """Log nothing."""

    def _list(self, query: dict[str, list[str]]) -> None:
        prefix, after = query["prefix"][0], query.get("start-after", [""])[0]
        with self.lock:
            names = [key for key in self.objects if key.startswith(prefix) and key > after]
        if "list" in self.faults:
            names = names[1:]
        order = str.lower if "order" in self.faults else str.encode
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(self._etag(self.objects[key]))}</ETag><Size>{len(self.objects[key])}</Size></Contents>"
            for key in sorted(names, key=order)
        )
        page = f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
        self._answer(200, page.encode())

    def _is_late(self, body: bytes) -> bool:
        """True for the first write of its object. One that is done late is done before the fifth."""
        if self._key()[-1] not in "p0":  # as the first objects of each part are named
            return False
        mine = self.arrived.setdefault(self._key(), [])
        mine.append(body)
        if len(mine) == 5:
            self.objects[self._key()] = mine[0]
        return len(mine) == 1

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/b/")

    def _etag(self, data: bytes) -> str:
        return f'"{hashlib.md5(data).hexdigest()}"'

    def _answer(self, status: int, body: bytes, etag: str = "", content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if etag:
            self.send_header("ETag", etag)
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def fake_store(*faults: str) -> Iterator[BucketClient]:
    """A client of a fake store with these faults."""
    about = {"objects": {}, "faults": set(faults), "lock": threading.Lock(), "arrived": {}}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Fake", (FakeStore,), about))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings = Settings(
        "b",
        f"http://127.0.0.1:{server.server_port}",
        "p/",
        credentials=StoreCredentials("a", "s"),
        patience_s=3,
    )
    try:
        yield BucketClient(settings, Meter())
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_seaweedfs_is_fit(store_process: Seaweed) -> None:
    client = store_process.client()

    async def run() -> int:
        await self_test.check(client)
        return len([listed async for page in pages(client, "") for listed in page])

    assert asyncio.run(run()) == 0  # it leaves nothing behind
    assert client.quoted_etags
    assert client.meter.requests < 100


def test_a_store_that_makes_its_bucket_at_the_first_write_is_fit(store_process: Seaweed) -> None:
    settings = store_process.settings()._replace(bucket=f"new-{secrets.token_hex(4)}")
    asyncio.run(self_test.check(BucketClient(settings, Meter())))


def test_a_fake_store_without_faults_is_fit() -> None:
    with fake_store() as client:
        asyncio.run(self_test.check(client))
    assert client.quoted_etags


def test_a_store_that_compares_etags_without_quotes_is_fit() -> None:
    with fake_store("quotes") as client:
        asyncio.run(self_test.check(client))
    assert not client.quoted_etags


def test_a_write_that_comes_late_does_not_make_a_fit_store_unfit() -> None:
    with fake_store("late") as client:
        asyncio.run(self_test.check(client))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("create", "ignores If-None-Match"),
        ("swap", "ignores If-Match"),
        ("no swap", "with and without quotes"),
        ("back", "what was replaced a moment ago"),
        ("ranges", "Range"),
        ("list", "lists other names"),
        ("order", "not by their bytes"),
    ],
)
def test_a_store_that_is_not_fit_is_refused(fault: str, said: str) -> None:
    with fake_store(fault) as client, pytest.raises(Unfit, match=said):
        asyncio.run(self_test.check(client))


@pytest.mark.parametrize(
    ("fault", "is_used"),
    [
        ("", True),
        ("ignores if-none-match", True),  # then all bytes come
        ("refuses if-none-match", False),
        ("always unchanged", False),
    ],
)
def test_what_is_held_is_asked_for_only_where_the_answer_can_be_trusted(fault: str, is_used: bool) -> None:
    async def go(client: BucketClient) -> None:
        await self_test.check(client)
        assert client.tells_unchanged is is_used
        etag = await client.put("a", b"old", None)
        await client.put("a", b"new", None)
        got = await client.get_changed("a", etag)
        assert isinstance(got, Got)
        assert bytes(got.data) == b"new"

    with fake_store(fault) as client:
        asyncio.run(go(client))


def test_wrong_credentials_are_said_to_be_wrong(caplog: pytest.LogCaptureFixture) -> None:
    with (
        fake_store("denied") as client,
        pytest.raises(Unavailable, match=r"SignatureDoesNotMatch.*credentials"),
    ):
        asyncio.run(self_test.check(client))
    assert len(caplog.records) == 1


def test_a_store_that_is_not_there_is_named_with_its_address(caplog: pytest.LogCaptureFixture) -> None:
    with fake_store() as stopped:
        client = BucketClient(stopped.settings._replace(patience_s=0.1), Meter())
    with pytest.raises(Unavailable, match=f"{client.settings.endpoint} .*objects_endpoint"):
        asyncio.run(self_test.check(client))
    assert len(caplog.records) == 1
    assert "a put: " in caplog.records[0].getMessage()
