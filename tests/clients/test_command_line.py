"""curl, wget, aria2c and rclone, as people use them. docs/works-with.md describes what runs here."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.clients.programs import run
from tests.conftest import StartServer
from tests.support.processes import Server, wait_for
from tests.support.tools import tool

MIB = 1 << 20
LARGE = os.urandom(5 * MIB + 123)


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """A server where PUT creates, as `curl -T` expects, with its requests in the log."""
    return start_server("--put-creates", "--access-log")


@pytest.fixture
def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}/store"


@pytest.fixture
def large(server: Server) -> bytes:
    """The content of /store/large.bin."""
    assert server.ask("POST", "/store/large.bin", LARGE).status == 201
    return LARGE


def statuses(server: Server, target: str) -> list[int]:
    """The statuses of the GETs of `target` in the access log, in order."""
    lines = [line for line in server.said().splitlines() if f'"GET {target} HTTP/1.1"' in line]
    return [int(line.split('"')[2].split()[0]) for line in lines]


# --- curl ---


def test_curl_uploads_a_file_after_the_100(server: Server, url: str, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(LARGE)
    options = ("-sSv", "-H", "Expect: 100-continue")  # newer versions send it only with large files
    _, told = run("curl", *options, "-T", "file.bin", url + "/by/", cwd=tmp_path)
    assert "HTTP/1.1 100 Continue" in told
    assert "HTTP/1.1 201 Created" in told
    assert server.ask("GET", "/store/by/file.bin").body == LARGE
    _, told = run("curl", *options, "-T", "file.bin", url + "/by/file.bin", cwd=tmp_path)
    assert "HTTP/1.1 200 OK" in told


def test_curl_uploads_what_comes_from_a_pipe(server: Server, url: str) -> None:
    run("curl", "-sS", "--fail", "-T", "-", url + "/piped", stdin=LARGE)
    assert server.ask("GET", "/store/piped").body == LARGE


def test_curl_posts_updates_and_deletes(server: Server, url: str) -> None:
    out, _ = run("curl", "-sS", "-w", "%{http_code}", "--data", "111", url + "/foo")
    assert out == "201"
    out, _ = run("curl", "-sS", "-w", "%{http_code} %{content_type}", url + "/foo")
    assert out == "111200 application/octet-stream"  # curl always declares the type of a form
    out, _ = run("curl", "-sS", "-w", "%{http_code}", "-X", "PUT", "--data", "222", url + "/foo")
    assert out == "200"
    out, _ = run("curl", "-sS", "-w", "%{http_code}", "-X", "DELETE", url + "/foo")
    assert out == "200"
    run("curl", "-sS", "--fail", url + "/foo", expect=22)
    assert server.ask("GET", "/store/foo").status == 404


def test_curl_resumes_a_download(url: str, large: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(large[:MIB])
    out, _ = run("curl", "-sS", "-C", "-", "-o", "f", "-w", "%{http_code}", url + "/large.bin", cwd=tmp_path)
    assert out == "206"
    assert (tmp_path / "f").read_bytes() == large
    run("curl", "-sS", "-C", "-", "-o", "f", url + "/large.bin", cwd=tmp_path)  # nothing is missing
    assert (tmp_path / "f").read_bytes() == large


def test_curl_gets_ranges(url: str, large: bytes, tmp_path: Path) -> None:
    for asked, expected in (("5-9", large[5:10]), ("-5", large[-5:]), (f"{MIB}-", large[MIB:])):
        run("curl", "-sS", "-r", asked, "-o", "part", url + "/large.bin", cwd=tmp_path)
        assert (tmp_path / "part").read_bytes() == expected
    run("curl", "-sS", "-r", "0-1,100-101", "-o", "parts", url + "/large.bin", cwd=tmp_path)
    parts = (tmp_path / "parts").read_bytes()
    assert parts.count(b"Content-Range: bytes ") == 2
    assert large[:2] in parts
    assert large[100:102] in parts


def test_curl_downloads_only_what_has_changed(url: str, large: bytes, tmp_path: Path) -> None:
    get = ("curl", "-sS", "--etag-save", "tag", "--etag-compare", "tag", "-o", "f", "-w", "%{http_code}")
    assert run(*get, url + "/large.bin", cwd=tmp_path)[0] == "200"
    assert run(*get, url + "/large.bin", cwd=tmp_path)[0] == "304"
    run("curl", "-sS", "-X", "PUT", "--data", "new", url + "/large.bin")
    assert run(*get, url + "/large.bin", cwd=tmp_path)[0] == "200"
    assert (tmp_path / "f").read_bytes() == b"new"


def test_curl_downloads_only_what_is_newer(url: str, large: bytes, tmp_path: Path) -> None:
    run("curl", "-sS", "-R", "-o", "f", url + "/large.bin", cwd=tmp_path)  # with its Last-Modified
    get = ("curl", "-sS", "-z", "f", "-o", "again", "-w", "%{http_code}", url + "/large.bin")
    assert run(*get, cwd=tmp_path)[0] == "304"
    os.utime(tmp_path / "f", (1, 1))
    assert run(*get, cwd=tmp_path)[0] == "200"


def test_curl_gets_back_what_was_sent_compressed(server: Server, url: str, tmp_path: Path) -> None:
    (tmp_path / "f.gz").write_bytes(gzip.compress(b"text " * 1000))
    headers = ("-H", "Content-Encoding: gzip", "-H", "Content-Type: text/plain")
    run("curl", "-sS", "--fail", *headers, "-T", "f.gz", url + "/text", cwd=tmp_path)
    assert run("curl", "-sS", "--compressed", url + "/text")[0] == "text " * 1000
    assert server.ask("GET", "/store/text").body == (tmp_path / "f.gz").read_bytes()


# --- wget ---


def test_wget_resumes_a_download(server: Server, url: str, large: bytes, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(large[:MIB])
    run("wget", "-nv", "-c", url + "/large.bin", cwd=tmp_path)
    assert (tmp_path / "large.bin").read_bytes() == large
    run("wget", "-nv", "-c", url + "/large.bin", cwd=tmp_path)  # nothing is missing
    assert (tmp_path / "large.bin").read_bytes() == large
    wait_for(lambda: statuses(server, "/store/large.bin") == [206, 416], what="two answers in the log")


def test_wget_downloads_only_what_is_newer(server: Server, url: str, large: bytes, tmp_path: Path) -> None:
    for _ in range(2):
        run("wget", "-nv", "-N", url + "/large.bin", cwd=tmp_path)
    assert (tmp_path / "large.bin").read_bytes() == large
    wait_for(lambda: statuses(server, "/store/large.bin") == [200, 304], what="two answers in the log")


TREE = {
    "tree/a.txt": b"1",
    "tree/b c.txt": b"2",
    "tree/sub/d.txt": b"3" * 100_000,
    "tree/sub/deeper/ä&b.txt": b"4",
    "tree/sub/100%.txt": b"5",
    "other.txt": b"6",
}


@pytest.fixture
def tree(server: Server) -> dict[str, bytes]:
    """What is stored under tree/, by its path there."""
    for location, body in TREE.items():
        assert server.ask("POST", "/store/" + quote(location), body).status == 201
    return {at.removeprefix("tree/"): body for at, body in TREE.items() if at.startswith("tree/")}


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_wget_mirrors_a_folder_by_its_listing(url: str, tree: dict[str, bytes], tmp_path: Path) -> None:
    options = ("-r", "-np", "-nH", "--cut-dirs=2", "--restrict-file-names=nocontrol", "-e", "robots=off")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    run("wget", "-nv", *options, "-R", "index.html*", url + "/tree/", cwd=mirror, env={"LC_ALL": "C.UTF-8"})
    assert files_in(mirror) == tree


# --- aria2c ---


def test_aria2c_downloads_over_eight_connections(
    server: Server, url: str, large: bytes, tmp_path: Path
) -> None:
    body = large * 4
    assert server.ask("POST", "/store/larger.bin", body).status == 201
    options = ("-x8", "-s8", "-k1M", "--file-allocation=none", "--no-conf", "-q")
    run("aria2c", *options, url + "/larger.bin", cwd=tmp_path)
    assert (tmp_path / "larger.bin").read_bytes() == body
    wait_for(lambda: statuses(server, "/store/larger.bin").count(206) >= 7, what="its ranges")


# --- rclone ---


def rclone(url: str, *command: str | Path, cwd: Path) -> str:
    return run("rclone", "--config", "/dev/null", *command, "--http-url", url, cwd=cwd)[0]


def test_rclone_lists_copies_and_checks_a_folder(url: str, tree: dict[str, bytes], tmp_path: Path) -> None:
    listed = rclone(url, "lsf", "-R", "--files-only", ":http:tree", cwd=tmp_path)
    assert sorted(listed.splitlines()) == sorted(tree)
    folders = rclone(url, "lsf", "--dirs-only", ":http:", cwd=tmp_path)
    assert folders.splitlines() == ["tree/"]
    rclone(url, "copy", ":http:tree", "copied", cwd=tmp_path)
    assert files_in(tmp_path / "copied") == tree
    rclone(url, "check", "--download", ":http:tree", "copied", cwd=tmp_path)
    assert rclone(url, "cat", ":http:other.txt", cwd=tmp_path) == "6"


# --- all of them, with tokens ---


GETS = {
    "curl": (["curl", "-sS", "--fail", "-o", "got"], ["-H", "{bearer}"]),
    "curl, basic": (["curl", "-sS", "--fail", "-o", "got"], ["-u", "ci:{token}"]),
    "wget": (["wget", "-nv", "-O", "got"], ["--header", "{bearer}"]),
    "wget, basic": (["wget", "-nv", "-O", "got"], ["--user=ci", "--password={token}"]),
    "aria2c": (["aria2c", "-q", "--no-conf", "-o", "got"], ["--header", "{bearer}"]),
    "aria2c, basic": (
        ["aria2c", "-q", "--no-conf", "-o", "got"],
        ["--http-user=ci", "--http-passwd={token}"],
    ),
    "rclone": (["rclone", "--config", "/dev/null", "copyurl"], ["--header", "{bearer}"]),
}


@pytest.fixture
def guarded(start_server: StartServer, tmp_path: Path) -> tuple[str, str]:
    """(the URL of a blob, the token to read it with)."""
    token = _token(tmp_path / "clients.toml")
    server = start_server("--auth-file", str(tmp_path / "clients.toml"), "--put-creates")
    url = f"http://127.0.0.1:{server.port}/store/a"
    run("curl", "-sS", "--fail", "-u", f"ci:{token}", "-T", "-", url, stdin=b"1")
    return url, token


@pytest.mark.parametrize("name", GETS)
def test_each_program_can_say_who_it_is(name: str, guarded: tuple[str, str], tmp_path: Path) -> None:
    url, token = guarded
    command, who = GETS[name]
    last = ["got"] if command[0] == "rclone" else []
    told = [word.format(bearer=f"Authorization: Bearer {token}", token=token) for word in who]
    run(*command, *told, url, *last, cwd=tmp_path)
    assert (tmp_path / "got").read_bytes() == b"1"


def test_who_does_not_say_it_gets_nothing(guarded: tuple[str, str]) -> None:
    run("curl", "-sS", "--fail", guarded[0], expect=22)


def test_rclone_can_say_who_it_is_to_list(guarded: tuple[str, str], tmp_path: Path) -> None:
    url, token = guarded
    header = ("--http-headers", f"Authorization,Bearer {token}")
    store = url.removesuffix("/a")
    assert rclone(store, "lsf", *header, ":http:", cwd=tmp_path) == "a\n"
    assert rclone(store, "cat", *header, ":http:a", cwd=tmp_path) == "1"


def _token(path: Path) -> str:
    """A token, made as docs/access.md says, of a client "ci"."""
    return tool("access", "add", "ci", "--file", path).out.strip()
