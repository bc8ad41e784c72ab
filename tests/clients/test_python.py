"""Python's HTTP clients: requests, httpx, aiohttp, and fsspec, with which pandas and others read URLs."""

from __future__ import annotations

import asyncio
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import fsspec
import httpx
import pytest
import requests

from tests.conftest import StartServer
from tests.http.test_access import TOKENS, bearer, write_clients
from tests.support.processes import Server

MIB = 1 << 20
LARGE = os.urandom(3 * MIB + 5)


def pieces(data: bytes) -> Iterator[bytes]:
    """`data` as an iterator, so that clients do not know its length and send it chunked."""
    for at in range(0, len(data), 100_000):
        yield data[at : at + 100_000]


@pytest.fixture
def server(start_server: StartServer) -> Server:
    return start_server("--put-creates")


@pytest.fixture
def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}/store"


def test_requests(server: Server, url: str) -> None:
    with requests.Session() as client:
        client.trust_env = False
        made = client.post(f"{url}/a", data=LARGE)
        assert (made.status_code, made.headers["Location"]) == (201, "/store/a")
        assert client.put(f"{url}/a", data=pieces(LARGE[::-1])).status_code == 200
        got = client.get(f"{url}/a", stream=True)
        assert b"".join(got.iter_content(50_000)) == LARGE[::-1]
        assert client.get(f"{url}/a", headers={"Range": "bytes=0-9"}).content == LARGE[:-11:-1]
        assert client.get(f"{url}/a", headers={"If-None-Match": got.headers["ETag"]}).status_code == 304
        taken = client.put(f"{url}/a", data=b"x", headers={"If-Match": made.headers["ETag"]})
        assert (taken.status_code, taken.json()["code"]) == (412, 412)
        assert client.head(f"{url}/a").headers["Content-Length"] == str(len(LARGE))
        assert client.delete(f"{url}/a").status_code == 200
        assert client.get(f"{url}/a").status_code == 404
        client.post(f"{url}/ä b/ü.txt", data=b"text", headers={"Content-Type": "text/plain"})
        listed = client.get(f"{url}/", params={"prefix": "ä b/"}).json()
        assert [blob["location"] for blob in listed["blobs"]] == ["ä b/ü.txt"]


def test_httpx(server: Server, url: str) -> None:
    with httpx.Client(trust_env=False) as client:
        assert client.post(f"{url}/a", content=pieces(LARGE)).status_code == 201
        with client.stream("GET", f"{url}/a") as got:
            assert b"".join(got.iter_bytes()) == LARGE
        assert client.put(f"{url}/a", content=b"2").status_code == 200
        assert client.get(f"{url}/a").content == b"2"
        assert client.options(f"{url}/a").status_code == 204
        assert client.delete(f"{url}/a").status_code == 200


def test_aiohttp(server: Server, url: str) -> None:
    async def many() -> None:
        async with aiohttp.ClientSession() as client:

            async def one(number: int) -> None:
                body = LARGE[: number * 10_000]
                async with client.put(f"{url}/{number}", data=io.BytesIO(body)) as made:
                    assert made.status == 201
                async with client.get(f"{url}/{number}") as got:
                    assert await got.read() == body

            await asyncio.gather(*(one(number) for number in range(40)))

    asyncio.run(many())


def test_fsspec_reads_parts_of_a_blob_and_lists_a_folder(server: Server, url: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("first", LARGE)
        archive.writestr("last", b"here")
    assert server.ask("POST", "/store/d/archive.zip", packed.getvalue()).status == 201
    assert server.ask("POST", "/store/d/sub/x.txt", b"x").status == 201
    files = fsspec.filesystem("http", skip_instance_cache=True)
    assert files.info(f"{url}/d/archive.zip")["size"] == len(packed.getvalue())
    with files.open(f"{url}/d/archive.zip", block_size=64 * 1024) as seekable:
        assert zipfile.ZipFile(seekable).read("last") == b"here"
    as_html = {"headers": {"Accept": "text/html"}}
    files = fsspec.filesystem("http", skip_instance_cache=True, client_kwargs=as_html)
    found = files.ls(f"{url}/d/", detail=False)
    assert sorted(name.removeprefix(url) for name in found) == ["/d/archive.zip", "/d/sub/"]
    assert files.cat(f"{url}/d/sub/x.txt") == b"x"


def test_tokens_by_header_and_by_basic(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    write_clients(path, "writer")
    server = start_server("--auth-file", str(path))
    url = f"http://127.0.0.1:{server.port}/store/a"
    assert requests.get(url, timeout=120).status_code == 401
    assert requests.post(url, data=b"1", auth=("writer", TOKENS["writer"]), timeout=120).status_code == 201
    assert requests.get(url, headers=bearer("writer"), timeout=120).content == b"1"
    assert httpx.get(url, headers=bearer("writer")).content == b"1"
    assert httpx.get(url, auth=("writer", TOKENS["writer"])).content == b"1"
    files = fsspec.filesystem("http", skip_instance_cache=True, client_kwargs={"headers": bearer("writer")})
    assert files.cat(url) == b"1"
