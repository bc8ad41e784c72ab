"""Build caches over HTTP: ccache itself, and the exact requests of Bazel and Gradle.

They need a PUT that creates: `put_creates`. Source of the exchanges: ccache's manual ("Remote storage
backends"), Bazel's documentation ("Remote caching", HTTP caching protocol), Gradle's ("Build cache", HTTP).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.programs import run
from tests.conftest import StartServer
from tests.support.processes import Server
from tests.support.programs import need
from tests.support.raw import RawConnection, connected
from tests.support.tools import tool

SOURCE = '#include <stdio.h>\nint main(void) { return printf("%d\\n", WORTH); }\n'
FILES = 3


@pytest.fixture
def cache(start_server: StartServer) -> Server:
    return start_server("--put-creates")


@pytest.fixture
def guarded(start_server: StartServer, tmp_path: Path) -> tuple[Server, str]:
    """A server with an access file, and the token of its client "ci"."""
    token = tool("access", "add", "ci", "--file", tmp_path / "clients.toml").out.strip()
    return start_server("--put-creates", "--auth-file", str(tmp_path / "clients.toml")), token


def compile_with_ccache(folder: Path, storage: str) -> dict[str, int]:
    """Compile some files by ccache with an empty local cache. Gives its statistics."""
    folder.mkdir()
    environment = {"CCACHE_DIR": str(folder / "cache"), "CCACHE_REMOTE_STORAGE": storage}
    environment |= {
        "CCACHE_REMOTE_ONLY": "true",
        "CCACHE_CONFIGPATH": "/dev/null",
        "CCACHE_NOHASHDIR": "true",
    }
    for number in range(FILES):
        (folder / f"a{number}.c").write_text(SOURCE.replace("WORTH", str(number)))
        run("ccache", "gcc", "-c", f"a{number}.c", "-o", f"a{number}.o", cwd=folder, env=environment)
    told, _ = run("ccache", "--print-stats", cwd=folder, env=environment)
    return {name: int(count) for name, count in re.findall(r"^(\w+)\t(\d+)$", told, re.MULTILINE)}


def assert_second_compilation_hits(tmp_path: Path, storage: str) -> None:
    need("gcc")
    first = compile_with_ccache(tmp_path / "first", storage)
    assert first["remote_storage_miss"] >= FILES
    assert first["remote_storage_hit"] == 0
    second = compile_with_ccache(tmp_path / "second", storage)
    assert second["remote_storage_error"] == first["remote_storage_error"] == 0
    assert second["remote_storage_hit"] >= FILES
    assert second["remote_storage_miss"] == 0
    for number in range(FILES):
        name = f"a{number}.o"
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.mark.parametrize("layout", ["subdirs", "flat", "bazel"])
def test_ccache_finds_in_the_second_compilation_what_the_first_one_stored(
    cache: Server, tmp_path: Path, layout: str
) -> None:
    assert_second_compilation_hits(tmp_path, f"http://127.0.0.1:{cache.port}/store/ccache|layout={layout}")


def test_ccache_comes_with_a_users_password(guarded: tuple[Server, str], tmp_path: Path) -> None:
    server, token = guarded
    assert_second_compilation_hits(tmp_path, f"http://ci:{token}@127.0.0.1:{server.port}/store/ccache")


def test_ccache_comes_with_a_token(guarded: tuple[Server, str], tmp_path: Path) -> None:
    server, token = guarded
    storage = f"http://127.0.0.1:{server.port}/store/ccache|bearer-token={token}"
    assert_second_compilation_hits(tmp_path, storage)


@pytest.fixture
def client(cache: Server) -> Iterator[RawConnection]:
    """A connection to `cache`."""
    with connected(cache.port) as made:
        yield made


def test_ccache_fills_a_cache_that_it_may_only_append_to(start_server: StartServer, tmp_path: Path) -> None:
    add = ("ci", "--role", "append-only", "--prefix", "ccache/", "--file", tmp_path / "clients.toml")
    token = tool("access", "add", *add).out.strip()
    server = start_server("--put-creates", "--auth-file", str(tmp_path / "clients.toml"))
    storage = f"http://127.0.0.1:{server.port}/store/ccache|bearer-token={token}"
    assert_second_compilation_hits(tmp_path, storage)
    who = {"Authorization": f"Bearer {token}"}
    stored = json.loads(server.ask("GET", "/store/?prefix=ccache/", headers=who).body)["blobs"]
    assert len(stored) >= FILES
    for blob in stored:  # what others have built cannot be changed
        assert server.ask("PUT", f"/store/{blob['location']}", b"poison", who).status == 403


def test_what_bazel_says(client: RawConnection) -> None:
    """Values by key under ac/, content by its SHA-256 under cas/; 404 is a miss; PUT again is no error."""
    content = b"object file" * 1000
    digest = hashlib.sha256(content).hexdigest()
    key = hashlib.sha256(b"action").hexdigest()
    accept = {"Accept": "*/*", "User-Agent": "bazel/7.1.0"}
    for target, body in ((f"/store/cas/{digest}", content), (f"/store/ac/{key}", b"\x0a\x04meta")):
        client.request("GET", target, accept)
        answer = client.answer()
        assert answer.status == 404
        assert len(answer.body) < 10_000  # the client reads no longer error texts
        for expected in (201, 200):
            client.request("PUT", target, {**accept, "Content-Type": "application/octet-stream"}, body)
            assert client.answer().status == expected
        client.request("GET", target, accept)
        answer = client.answer()
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["content-length"] == str(len(body))


def test_what_gradle_says(guarded: tuple[Server, str]) -> None:
    """GET gets 200 or 404. PUT gets any 2xx, or 413 if an entry is too large. Basic authentication, and
    perhaps Expect.
    """
    server, token = guarded
    entry = "application/vnd.gradle.build-cache-artifact.v2"
    who = "Basic " + base64.b64encode(f"ci:{token}".encode()).decode()
    headers = {"Accept": f"{entry}, */*", "X-Gradle-Version": "8.5", "Authorization": who}
    target = "/store/gradle/" + "0123456789abcdef" * 2
    with connected(server.port) as client:
        client.request("GET", target, headers)
        assert client.answer().status == 404
        client.request(
            "PUT", target, headers | {"Content-Type": entry, "Content-Length": "5", "Expect": "100-continue"}
        )
        assert client.answer().status == 100
        client.send(b"entry")
        assert client.answer().status == 201
        client.request("GET", target, headers)
        answer = client.answer()
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"entry", entry)
        client.request("GET", target, headers | {"Authorization": "Basic Y2k6d3Jvbmc="})
        assert client.answer().status == 401


def test_an_entry_that_is_too_large_is_413_before_it_is_sent(start_server: StartServer) -> None:
    server = start_server("--put-creates", "--max-blob-size", "1000")
    with connected(server.port) as client:
        client.request("PUT", "/store/gradle/a", {"Content-Length": "1001", "Expect": "100-continue"})
        assert client.answer().status == 413
