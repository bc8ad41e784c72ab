"""restic's REST protocol, request by request, on a real server, and with the real program if it is
installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.frontends.restic.names import parse_path
from tests.support.processes import Answer, Server, wait_for
from tests.support.programs import find, needs
from tests.support.tools import tool

BODY = b"some pack"
NAME = hashlib.sha256(BODY).hexdigest()
V2 = "application/vnd.x.restic.rest.v2"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("restic") / "data", "--restic")
    try:
        yield made
    finally:
        made.end()
    assert "Traceback" not in made.said()


def test_a_repository(server: Server) -> None:
    base = "/restic/alice/laptop/"
    assert server.ask("POST", f"{base}?create=true").status == 200
    assert server.ask("POST", f"{base}?create=true").status == 200
    assert server.ask("POST", base).status == 400
    assert server.ask("HEAD", f"{base}config").status == 404
    assert server.ask("POST", f"{base}config", b"conf").status == 200
    assert server.ask("POST", f"{base}config", b"other").status == 403
    assert server.ask("GET", f"{base}config").body == b"conf"
    assert server.ask("HEAD", f"{base}config").headers["content-length"] == "4"

    file = f"{base}data/{NAME}"
    assert server.ask("POST", file, b"wrong bytes").status == 400
    assert server.ask("HEAD", file).status == 404
    assert server.ask("POST", file, BODY).status == 200
    assert server.ask("POST", file, BODY).status == 200  # as after a lost answer; rest-server gives 403
    assert server.ask("POST", file, b"wrong bytes").status == 400
    part = server.ask("GET", file, headers={"Range": "bytes=5-8"})
    assert (part.status, part.body) == (206, b"pack")
    assert server.ask("GET", "/store/restic/alice/laptop/data/" + NAME).body == BODY

    listed = server.ask("GET", f"{base}data/", headers={"Accept": V2})
    assert (listed.headers["content-type"], json.loads(listed.body)) == (V2, [{"name": NAME, "size": 9}])
    assert json.loads(server.ask("GET", f"{base}data/").body) == [NAME]
    assert json.loads(server.ask("GET", f"{base}keys/").body) == []
    assert server.ask("DELETE", file).status == 200
    assert server.ask("DELETE", file).status == 200
    assert server.ask("GET", file).status == 404
    assert server.ask("GET", f"{base}nothing/").status == 405  # that would be another repository
    for method in ("PUT", "FOO"):
        assert server.ask(method, file, BODY).status == 405
        assert server.ask(method, "/restic/a", BODY).status == 404


@pytest.mark.parametrize("path", ["/restic/", "/restic/a", "/restic/../config", "/restic/a/data/xyz"])
def test_no_repository(path: str) -> None:
    from common.errors import BlobkeepError

    with pytest.raises(BlobkeepError):
        parse_path(path)


def _ask(server: Server, who: tuple[str, str], method: str, path: str, body: bytes = b"") -> Answer:
    secret = b64encode(":".join(who).encode()).decode()
    return server.ask(method, path, body, {"Authorization": f"Basic {secret}"})


def test_private_and_append_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = str(tmp_path / "keys")
    tokens = {}
    for name, role in (("alice", "read-write"), ("adder", "append-only"), ("reader", "read-only")):
        ran = tool("access", "add", name, "--role", role, "--prefix", f"restic/{name}/", "--file", keys)
        tokens[name] = (name, ran.out.strip())
    server = Server(tmp_path / "data", "--restic", "--auth-file", keys)
    try:
        for name in ("alice", "adder"):
            who, base = tokens[name], f"/restic/{name}/r/"
            assert _ask(server, who, "POST", f"{base}?create=true").status == 200
            assert _ask(server, who, "POST", f"{base}data/{NAME}", BODY).status == 200
            assert _ask(server, who, "POST", f"{base}data/{NAME}", BODY).status == 200
            assert _ask(server, who, "POST", f"{base}locks/{NAME}", BODY).status == 200
            assert _ask(server, who, "DELETE", f"{base}locks/{NAME}").status == 200
            for method, path in (("GET", "config"), ("GET", "data/"), ("POST", f"data/{NAME}")):
                assert _ask(server, who, method, f"/restic/reader/r/{path}", BODY).status == 403
        assert _ask(server, tokens["adder"], "DELETE", f"/restic/adder/r/data/{NAME}").status == 403
        assert _ask(server, tokens["adder"], "DELETE", "/restic/adder/r/config").status == 403
        assert _ask(server, tokens["reader"], "POST", "/restic/reader/r/?create=true").status == 403
        assert _ask(server, tokens["reader"], "GET", "/restic/reader/r/data/").status == 200
        assert server.ask("GET", f"/restic/alice/r/data/{NAME}").status == 401

        # A damaged file may still be restored, so an append-only client may replace it only by the same
        # bytes.
        for name in ("alice", "adder"):
            assert _ask(server, tokens[name], "POST", f"/restic/{name}/r/config", BODY).status == 200
        server.kill()
        server.restart()  # nothing is in its memory or its journal
        for rotten in (tmp_path / "data").glob("*/data.raw"):
            rotten.write_bytes(b"R" + rotten.read_bytes()[1:])
        for name, status in (("alice", 200), ("adder", 403)):
            who, base = tokens[name], f"/restic/{name}/r/"
            for path in ("config", f"data/{NAME}"):
                assert _ask(server, who, "GET", base + path).status == 500
            assert _ask(server, who, "POST", f"{base}config", BODY).status == status
            assert _ask(server, who, "POST", f"{base}data/{NAME}", BODY).status == 200
            assert _ask(server, who, "GET", f"{base}data/{NAME}").body == BODY
    finally:
        server.end()


RESTIC = find("restic")


@needs("restic")
def test_the_real_program_and_a_kill_in_the_middle_of_a_backup(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--restic")
    source = tmp_path / "source"
    source.mkdir()
    for number in range(32):  # two packs
        (source / f"{number}").write_bytes(os.urandom(1 << 20))

    def restic(*args: str) -> str:
        done = _start(server.port, *args)
        out, _ = done.communicate(timeout=120)
        assert done.returncode == 0, out
        return out

    def _start(port: int, *args: str) -> subprocess.Popen[str]:
        assert RESTIC is not None
        environment = {**os.environ, "RESTIC_PASSWORD": "secret", "RESTIC_CACHE_DIR": str(tmp_path / "cache")}
        command = [RESTIC, "-r", f"rest:http://127.0.0.1:{port}/restic/me/", *args]
        return subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    try:
        restic("init")
        backup = _start(server.port, "backup", str(source))
        port = server.port
        wait_for(lambda: b"data" in server.ask("GET", "/store/restic/me/?delimiter=/").body, what="a pack")
        server.kill()
        server.port = port
        server.flags = (*server.flags, "-s", f"127.0.0.1:{port}")
        ended = threading.Event()
        server.restart()
        out, _ = backup.communicate(timeout=120)
        ended.set()
        assert backup.returncode in (0, 1), out  # it tries again; if it gave up, the next run goes on
        restic("unlock", "--remove-all")
        restic("backup", str(source))
        restic("forget", "--keep-last", "1", "--prune")
        restic("check", "--read-data")
        restic("restore", "latest", "--target", str(tmp_path / "restored"))
        for file in source.iterdir():
            assert (Path(f"{tmp_path}/restored{source}") / file.name).read_bytes() == file.read_bytes()
    finally:
        server.end()


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match", "Content-Range", "Repr-Digest", "Content-MD5"])
@pytest.mark.parametrize("file", ["config", f"locks/{NAME}"])
def test_a_field_that_a_write_would_not_look_at_is_refused(server: Server, file: str, name: str) -> None:
    """A config of which a part came was stored as the whole, and a lock deleted whatever the condition."""
    at = f"/restic/fields-{name}/{file}"
    assert server.ask("POST", at, BODY, {name: '"0"'}).status == 400
    assert server.ask("HEAD", at).status == 404
    assert server.ask("POST", at, BODY).status == 200
    assert server.ask("DELETE", at, None, {name: '"0"'}).status == 400
    assert server.ask("GET", at).body == BODY
