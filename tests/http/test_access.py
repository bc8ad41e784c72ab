"""Access over HTTP: 401, 403, reloading, and that every resource checks it. See docs/access.md."""

from __future__ import annotations

import base64
import http.client
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from common.config import Config
from services.access import file as access_file
from services.access.decisions import Access
from services.access.secret_hash import hash_password, hash_token
from services.frontends.native.app import make_app
from services.watch.monitor import Monitor
from services.watch.request_log import RequestLog
from tests.conftest import StartServer
from tests.support.memory_engine import MemoryEngine
from tests.support.processes import Answer, Server, wait_for
from tests.support.raw import connected
from tests.support.rules import DataDirectory

HTTP = ["blobkeep", "tornado"]
TOKENS = {name: f"token-of-{name}" for name in ("reader", "writer", "appender", "team")}
PASSWORD = "a pass word"

# Paths that tell nothing about blobs. The dashboard's page is among them, since it asks for the token.
PUBLIC = ["/", "/dashboard/main.js", "/healthz", "/session"]
TICKET = "/downloads/none"  # a link needs no token; this is no valid link, so 404

Ask = Callable[..., Answer]


def write_clients(path: Path, *names: str) -> None:
    """An access file with these names of TOKENS, and "ann", who has PASSWORD."""
    roles = {"reader": "read-only", "appender": "append-only"}
    text = access_file.HEADER
    for name in names:
        hashed = hash_password(PASSWORD, log_n=10) if name == "ann" else hash_token(TOKENS[name])
        prefix = "team/" if name == "team" else ""
        text += access_file.entry_text(
            access_file.make_client(name, roles.get(name, "read-write"), prefix, hashed)
        )
    path.write_text(text)
    path.chmod(0o600)


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": "Bearer " + TOKENS[name]}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def clients(tmp_path: Path) -> Path:
    path = tmp_path / "clients.toml"
    write_clients(path, *TOKENS, "ann")
    return path


@pytest.fixture(params=HTTP)
def guarded(request: pytest.FixtureRequest, start_server: StartServer, clients: Path) -> Server:
    """A server with an access file, on each of the two connections."""
    return start_server("--auth-file", str(clients), "--put-creates", "--http", request.param)


def assert_refused(answer: Answer, status: int) -> None:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(rb'\{"code": ?%d, ?"text": ?"[^"]+\."\}\n' % status, answer.body), answer.body
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_each_resource_but_public_ones_refuses_who_says_nothing(guarded: Server) -> None:
    engine = MemoryEngine("")
    monitor = Monitor(engine, engine.store, RequestLog())
    app = make_app(engine.store, engine.admin(), Config(), monitor, Access([]))
    rules = app.default_router.rules[0].target.rules
    paths = [*PUBLIC, "*", "/blobs/", "/blobs/1", "/events", "/metrics", "/nothing", "/openapi.json"]
    paths += ["/blobs/1/data", "/blobs/1/undelete"]
    paths += ["/store", "/store/", "/store/1", "/store/a/", "/tickets/a", TICKET]
    for rule in rules:
        assert any(map(rule.matcher.regex.match, paths)), f"add a path of {rule}"
    for path in paths:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            if path == "*" and method != "OPTIONS":
                continue  # not a request
            answer = guarded.ask(method, path)
            if path in PUBLIC:
                assert answer.status in (200, 204, 405), (method, path, answer)
            elif path == TICKET:
                assert answer.status in (204, 404, 405), (method, path, answer)
            elif method == "HEAD":
                assert (answer.status, answer.body) == (401, b""), (method, path, answer)
            else:
                assert_refused(answer, 401)


def test_a_wrong_secret_gets_401_and_both_challenges(guarded: Server) -> None:
    for header in (
        {"Authorization": "Bearer token-of-nobody"},
        {"Authorization": "Bearer"},
        {"Authorization": "Negotiate abc"},
        basic("ann", "another"),
        basic("eve", PASSWORD),
        basic("ann", ""),
    ):
        assert_refused(guarded.ask("GET", "/store/a", headers=header), 401)
    with socket.create_connection(("127.0.0.1", guarded.port)) as sock:
        sock.sendall(b"GET /store/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        said = b"".join(iter(lambda: sock.recv(65536), b""))
    assert b'\r\nWWW-Authenticate: Basic realm="Blobkeep", charset="UTF-8"\r\n' in said.replace(
        b"Www", b"WWW"
    )
    assert b'\r\nWWW-Authenticate: Bearer realm="Blobkeep"\r\n' in said.replace(b"Www", b"WWW")


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_who_may_only_create_cannot_take_the_place_of_a_damaged_blob(
    guarded: Server, data: DataDirectory, method: str
) -> None:
    """The blob may be restored as long as nobody writes to its location."""
    appender, writer = bearer("appender"), bearer("writer")
    data.rotten = True
    assert guarded.ask("POST", "/store/bad", b"body", appender).status == 201
    (path,) = data.path.glob("*/data.raw")
    path.write_bytes(b"BODY")
    assert guarded.ask("GET", "/store/bad", headers=appender).status == 500
    assert_refused(guarded.ask(method, "/store/bad", b"new", appender), 403)
    assert guarded.ask("GET", "/store/bad", headers=appender).status == 500
    assert guarded.ask("PUT", "/store/bad", b"new", writer).status == 200


def test_roles_do_what_they_may_and_nothing_else(guarded: Server) -> None:
    ask = guarded.ask
    reader, writer, appender, team = (bearer(n) for n in ("reader", "writer", "appender", "team"))
    for method in ("POST", "PUT", "DELETE"):
        assert_refused(ask(method, "/store/a", b"a", reader), 403)
    assert ask("GET", "/store/a", headers=reader).status == 404
    assert ask("POST", "/store/a", b"1", appender).status == 201
    assert ask("PUT", "/store/b", b"1", appender).status == 201  # put_creates is on
    assert ask("POST", "/store/a", b"2", appender).status == 409
    assert_refused(ask("PUT", "/store/a", b"2", appender), 403)
    assert_refused(ask("DELETE", "/store/a", headers=appender), 403)
    for client in (reader, writer, appender):
        assert ask("GET", "/store/a", headers=client).body == b"1"
        assert ask("HEAD", "/store/a", headers=client).status == 200
        assert ask("OPTIONS", "/store/a", headers=client).status == 204
        assert ask("GET", "/store/", headers=client).status == 200
    assert ask("PUT", "/store/a", b"3", writer).status == 200
    assert ask("DELETE", "/store/b", headers=writer).status == 200
    assert ask("POST", "/store/team/x", b"x", team).status == 201
    assert ask("GET", "/store/team/x", headers=team).body == b"x"
    assert b'"team/x"' in ask("GET", "/store/?prefix=team/", headers=team).body
    for path in ("/store/a", "/store/team", "/store/", "/store/?prefix=t", "/blobs/", "/events", "/metrics"):
        assert_refused(ask("GET", path, headers=team), 403)
    assert_refused(ask("DELETE", "/store/a", headers=team), 403)
    assert ask("GET", "/store/a", headers=writer).body == b"3"


def test_each_request_of_a_connection_is_asked_anew(start_server: StartServer, clients: Path) -> None:
    guarded = start_server("--auth-file", str(clients), "--http", "blobkeep", "--access-log")
    assert guarded.ask("POST", "/store/hot", b"hot", bearer("writer")).status == 201
    with connected(guarded.port) as client:
        for name, status in [("reader", 200)] * 3 + [
            (None, 401),
            ("reader", 200),
            ("team", 403),
            ("ann", 200),
        ]:
            who = basic("ann", PASSWORD) if name == "ann" else bearer(name) if name else {}
            for method in ("GET", "HEAD"):
                assert client.ask(method, "/store/hot", who).status == status, name
            assert client.ask("GET", "/healthz").status == 200
    logged = r'127\.0\.0\.1 - (\S+) \[[^]]*\] "GET /store/hot HTTP/1\.1" (\d+)'
    expected = [("reader", "200")] * 3 + [("-", "401"), ("reader", "200"), ("team", "403"), ("ann", "200")]
    wait_for(lambda: re.findall(logged, guarded.said()) == expected, what="who asked, in the log")


def test_users_come_with_basic_and_tokens_do_too(guarded: Server) -> None:
    for header in (basic("ann", PASSWORD), basic("writer", TOKENS["writer"])):
        assert guarded.ask("PUT", "/store/a", b"1", header).status in (200, 201)
    assert_refused(guarded.ask("PUT", "/store/a", b"1", basic("reader", TOKENS["reader"])), 403)


def test_a_refusal_comes_before_the_100_and_the_body(guarded: Server) -> None:
    for name, status in ((None, 401), ("reader", 403), ("team", 403)):
        with connected(guarded.port) as client:
            who = bearer(name) if name else {}
            length = {"Content-Length": "1000000", "Expect": "100-Continue"}
            client.request("PUT", "/store/a", who | length)
            assert client.answer().status == status


def test_an_upload_that_is_admitted_by_password_gets_its_100(guarded: Server) -> None:
    header = basic("ann", PASSWORD)["Authorization"]
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=120) as sock:
        head = f"PUT /store/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: {header}\r\nContent-Length: 3\r\n"
        sock.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert re.fullmatch(rb"HTTP/1\.1 100 .*\r\n\r\n", sock.recv(65536))
        sock.sendall(b"abc")
        assert sock.recv(65536).startswith(b"HTTP/1.1 201 ")


def test_sighup_takes_new_clients_and_keeps_the_old_where_the_file_is_wrong(
    start_server: StartServer, clients: Path
) -> None:
    server = start_server("--auth-file", str(clients))

    def hup() -> None:
        server.popen.send_signal(signal.SIGHUP)

    def status(name: str) -> int:
        return server.ask("GET", "/store/", headers=bearer(name)).status

    assert status("reader") == status("writer") == 200
    write_clients(clients, "writer")
    assert status("reader") == 200  # the server has not read the new file yet
    hup()
    wait_for(lambda: status("reader") == 401, what="the new rules")
    assert status("writer") == 200
    clients.chmod(0o644)
    hup()
    wait_for(lambda: "chmod 600" in server.said(), what="the error")
    assert status("writer") == 200
    clients.chmod(0o600)
    clients.write_text("[[client]]\nname = 7\n")
    hup()
    wait_for(lambda: "must be a string" in server.said(), what="the error")
    assert status("writer") == 200
    clients.unlink()
    hup()
    wait_for(lambda: "cannot be read" in server.said(), what="the error")
    assert status("writer") == 200
    assert server.said().count("ERROR server: what was allowed before goes on") == 3
    write_clients(clients, "reader")
    hup()
    wait_for(lambda: status("writer") == 401, what="the new rules")
    assert status("reader") == 200


def test_one_who_listens_for_ever_is_asked_again_when_the_rules_change(
    start_server: StartServer, clients: Path
) -> None:
    server = start_server("--auth-file", str(clients))
    with connected(server.port) as listening:
        head = f"GET /events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKENS['reader']}\r\n\r\n"
        listening.send(head.encode())
        assert listening.sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        write_clients(clients, "writer")
        server.popen.send_signal(signal.SIGHUP)
        while listening.sock.recv(65536):
            pass  # to the end of the stream
    assert server.ask("GET", "/events", headers=bearer("reader")).status == 401


def test_a_file_that_others_may_read_stops_the_start_with_a_sentence(
    start_server: StartServer, clients: Path
) -> None:
    clients.chmod(0o640)
    with pytest.raises(AssertionError, match=r"cannot start: auth_file: others may read .* chmod 600"):
        start_server("--auth-file", str(clients))


def test_sighup_without_files_to_read_changes_nothing(server: Server) -> None:
    server.popen.send_signal(signal.SIGHUP)
    assert server.ask("PUT", "/store/a", b"").status == 404
    assert server.popen.poll() is None


def test_a_page_of_another_origin_cannot_make_its_reader_write(server: Server) -> None:
    assert server.ask("POST", "/store/a", b"1").status == 201
    own = f"http://127.0.0.1:{server.port}"
    host = {"Host": own.removeprefix("http://")}
    for method in ("POST", "PUT", "DELETE"):
        for headers in (
            {"Origin": "https://elsewhere.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site", "Origin": own},
            {"Sec-Fetch-Site": "same-site"},
        ):
            assert_refused(server.ask(method, "/store/a", b"2", host | headers), 403)
    assert server.ask("GET", "/store/a", headers={"Origin": "null"}).body == b"1"
    assert server.ask("PUT", "/store/a", b"2", host | {"Origin": own}).status == 200
    assert server.ask("PUT", "/store/a", b"3", host | {"Sec-Fetch-Site": "same-origin"}).status == 200


@pytest.mark.parametrize("kind", HTTP)
def test_a_body_that_nobody_wants_takes_no_memory(start_server: StartServer, kind: str) -> None:
    server = start_server("--http", kind)
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    piece = bytes(1 << 20)
    for target in ("/healthz", "/store/", "/store/a", "/nothing"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=120) as sock:
            sock.sendall(
                f"GET {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {128 << 20}\r\n\r\n".encode()
            )
            try:
                for _ in range(128):
                    sock.sendall(piece)
            except OSError:
                continue  # refused, before it was all there
            assert sock.recv(100).startswith(b"HTTP/1.1 ")
    assert process.memory_info().rss - before < 32 << 20


def test_health_is_for_all_but_its_details_for_those_who_may_see_everything(guarded: Server) -> None:
    assert guarded.ask("GET", "/healthz").body == b'"Ok!"\n'
    assert_refused(guarded.ask("GET", "/healthz?verbose=1"), 401)
    team, reader = ({"Authorization": f"Bearer {TOKENS[name]}"} for name in ("team", "reader"))
    assert_refused(guarded.ask("GET", "/healthz?verbose=1", headers=team), 403)
    assert_refused(guarded.ask("GET", "/metrics", headers=team), 403)
    assert b'"processes"' in guarded.ask("GET", "/healthz?verbose=1", headers=reader).body
    assert b"blobkeep_ready" in guarded.ask("GET", "/metrics", headers=reader).body


def test_the_dashboard_is_not_challenged_in_a_way_that_opens_a_window(guarded: Server) -> None:
    def challenges(headers: dict[str, str]) -> list[str]:
        connection = http.client.HTTPConnection("127.0.0.1", guarded.port, timeout=120)
        connection.request("GET", "/events", headers=headers)
        found = connection.getresponse().headers.get_all("WWW-Authenticate", [])
        connection.close()
        return [challenge.split()[0] for challenge in found]

    assert challenges({}) == ["Basic", "Bearer"]
    assert challenges({"X-Requested-With": "XMLHttpRequest"}) == ["Bearer"]
