"""/openapi.json is true: it names every resource, and a fuzzer that follows it finds no difference."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from common.options import Config
from common.version import VERSION
from services.access.decisions import Access
from services.frontends.native.app import make_app
from services.frontends.native.openapi import document
from services.watch.monitor import Monitor
from services.watch.request_log import RequestLog
from tests.http.conftest import shared_server
from tests.http.fuzz import fuzz
from tests.support.memory_engine import MemoryEngine
from tests.support.processes import ROOT, Server

SEED, SIZE = 7, 1


@pytest.fixture(scope="module")
def creating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """On one connection class: `python -m tests.http.fuzz` does both, and for longer."""
    yield from shared_server(tmp_path_factory, "blobkeep", "--put-creates")


def test_every_resource_is_described() -> None:
    engine = MemoryEngine("")
    monitor = Monitor(engine, engine.store, RequestLog())
    app = make_app(engine.store, engine.admin(), Config(), monitor, Access([]))
    rules = [rule.matcher.regex for rule in app.default_router.rules[0].target.rules]
    paths = [re.sub(r"\{\w+\}", "1", path.replace("{name}", "app.js")) for path in document()["paths"]]
    for rule in rules:
        assert rule.match("*") or any(map(rule.match, paths)), f"{rule.pattern} is not described"


def test_what_is_served_is_the_description(creating: Server) -> None:
    answer = creating.ask("GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.body) == document()


_NOT_INSTALLED = """
import importlib.metadata as metadata
known = metadata.version
def of_others(name):
    if name == "blobkeep":
        raise metadata.PackageNotFoundError(name)
    return known(name)
metadata.version = of_others
from services.frontends.native.openapi import document
print(document()["info"]["version"])
"""


def test_the_version_is_known_where_nothing_was_installed() -> None:
    done = subprocess.run([sys.executable, "-c", _NOT_INSTALLED], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.stdout.strip() == VERSION


@pytest.mark.timeout(900)
def test_a_fuzzer_finds_every_answer_described(creating: Server) -> None:
    run = fuzz(f"http://127.0.0.1:{creating.port}/openapi.json", SEED, SIZE)
    assert run.returncode == 0, run.stdout + run.stderr
    operations = sum(len(methods.keys() - {"parameters"}) for methods in document()["paths"].values())
    # All operations, except the GET of the description, and the stream without an end (schemathesis.toml).
    assert f"Tested: {operations - 2}\n" in run.stdout


@pytest.fixture
def served() -> Iterator[tuple[dict[str, Any], str]]:
    """A description that a test may change, and the address where it is served."""
    described = document()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(described).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield described, f"http://127.0.0.1:{server.server_port}/openapi.json"
        server.shutdown()
        thread.join()


@pytest.mark.timeout(900)
def test_the_fuzzer_would_find_a_lie(served: tuple[dict[str, Any], str], creating: Server) -> None:
    described, url = served
    described["paths"] = {"/blobs/{id}": described["paths"]["/blobs/{id}"]}
    del described["paths"]["/blobs/{id}"]["get"]["responses"]["404"]
    run = fuzz(url, SEED, SIZE, "--url", f"http://127.0.0.1:{creating.port}")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "Undocumented HTTP status code" in run.stdout or "Received: 404" in run.stdout
