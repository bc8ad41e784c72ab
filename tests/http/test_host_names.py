"""DNS rebinding: an open server on a loopback address does not answer under a name that a hostile page
may have.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.access import file as access_file
from services.access.secret_hash import hash_token
from tests.conftest import StartServer
from tests.http.conftest import CONNECTIONS
from tests.support.processes import Server
from tests.support.raw import connected

EVIL = {"Host": "evil.example:7777"}
REQUESTS = [
    *(("GET", "/store/a"), ("HEAD", "/store/a"), ("PUT", "/store/a"), ("POST", "/store/b")),
    *(("DELETE", "/store/a"), ("GET", "/store/"), ("GET", "/"), ("GET", "/healthz"), ("GET", "/metrics")),
    *(("GET", "/events"), ("GET", "/blobs/"), ("OPTIONS", "/store/a"), ("GET", "/nowhere"), ("OPTIONS", "*")),
]


def status(server: Server, host: str, method: str = "GET", target: str = "/store/a") -> int:
    with connected(server.port) as connection:
        return connection.ask(method, target, {"Host": host}).status


@pytest.mark.parametrize("http", CONNECTIONS)
def test_nothing_is_answered_under_another_name(start_server: StartServer, http: str) -> None:
    server = start_server("--http", http, "--put-creates")
    assert server.ask("POST", "/store/a", b"secret").status == 201
    for method, target in REQUESTS:
        with connected(server.port) as connection:
            body = b"evil" if method in ("PUT", "POST") else None
            answer = connection.ask(method, target, EVIL, body)
        assert answer.status == 421, (method, target)
        if method != "HEAD":
            said = json.loads(answer.body)
            assert said["code"] == 421
            assert "evil.example" in said["text"]
            assert "option hosts" in said["text"]
    assert server.ask("GET", "/store/a").body == b"secret"
    assert server.ask("GET", "/store/b").status == 404
    for host in ("localhost", f"127.0.0.1:{server.port}", "[::1]:7777"):
        assert status(server, host) == 200


def test_names_of_the_option_are_answered(start_server: StartServer) -> None:
    server = start_server("--hosts", "blobs.example.org")
    server.ask("POST", "/store/a", b"a")
    assert status(server, "blobs.example.org") == 200
    assert status(server, "evil.example") == 421


def test_a_server_that_asks_for_tokens_answers_to_any_name(start_server: StartServer, tmp_path: Path) -> None:
    """A page under such a name has no token, so an access file is enough."""
    clients = tmp_path / "clients.toml"
    client = access_file.make_client("ann", "read-write", "", hash_token("a token"))
    clients.write_text(access_file.entry_text(client))
    clients.chmod(0o600)
    server = start_server("--auth-file", str(clients))
    assert status(server, "evil.example") == 401
    assert status(server, "evil.example", target="/healthz") == 200


def test_a_server_for_other_machines_answers_to_any_name(start_server: StartServer) -> None:
    server = start_server("-s", "0.0.0.0:0")
    assert status(server, "blobs.example.org", target="/healthz") == 200
