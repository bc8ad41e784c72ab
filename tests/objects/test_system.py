"""The processes on an object store: a server, a gc and a recovery worker as people run them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.config import Config
from common.errors import ConfigError
from services.engines.objects import development, keys
from services.engines.objects.bucket import pages
from services.engines.objects.client import BucketClient
from services.engines.objects.development import ACCESS_KEY, BUCKET, SECRET_KEY, Ports
from services.engines.objects.engine import ObjectsEngine
from services.engines.objects.meter import Meter
from tests.support.processes import ROOT, Process, Server, wait_for
from tests.support.raw import RawConnection
from tests.support.seaweed import Seaweed

Start = Callable[..., Process]
LARGE = 3 << 20


class System:
    """Processes on one prefix of the store; each has a folder of its own."""

    def __init__(self, store: Seaweed, folder: Path) -> None:
        self.settings = store.settings()
        self._folder = folder
        self._started: list[Process] = []
        self.env = {
            "BLOBKEEP_ENGINE": "objects",
            "BLOBKEEP_OBJECTS_ENDPOINT": store.ports.endpoint,
            "BLOBKEEP_OBJECTS_BUCKET": BUCKET,
            "BLOBKEEP_OBJECTS_PREFIX": self.settings.prefix,
            "BLOBKEEP_OBJECTS_READING": "0",
            "BLOBKEEP_OBJECTS_PART": str(1 << 20),
            "BLOBKEEP_GC_INTERVAL": "0.2",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }

    def server(self) -> Server:
        started = Server(self._folder / f"s{len(self._started)}", env=self.env)
        self._started.append(started)
        return started

    def worker(self, program: str, *flags: str) -> Process:
        folder = self._folder / f"w{len(self._started)}"
        folder.mkdir()
        started = Process(program, folder, *flags, env=self.env)
        self._started.append(started)
        return started

    def keys(self, folder: str) -> list[str]:
        """The keys that the bucket holds under `folder`."""

        async def go() -> list[str]:
            client = BucketClient(self.settings, Meter())
            found = [one.key async for page in pages(client, folder) for one in page]
            return [key for key in found if not key.endswith("/keep")]

        return asyncio.run(go())

    def end(self) -> None:
        for process in self._started:
            process.end()


@pytest.fixture
def system(store_process: Seaweed, tmp_path: Path) -> Iterator[System]:
    made = System(store_process, tmp_path)
    yield made
    made.end()


def test_what_one_server_acknowledges_all_servers_show(system: System) -> None:
    one, other = system.server(), system.server()
    large = os.urandom(LARGE)
    assert one.ask("POST", "/store/a", b"small").status == 201
    assert other.ask("POST", "/store/a", b"again").status == 409
    assert other.ask("GET", "/store/a").body == b"small"
    assert other.ask("PUT", "/store/a", large).status == 200
    assert one.ask("GET", "/store/a").body == large
    part = one.ask("GET", "/store/a", headers={"Range": "bytes=1048570-1048580"})
    assert (part.status, part.body) == (206, large[1048570:1048581])
    listed = json.loads(one.ask("GET", "/store/").body)["blobs"]
    assert [(blob["location"], blob["size"]) for blob in listed] == [("a", LARGE)]
    assert one.ask("DELETE", "/store/a").status == 200
    assert other.ask("GET", "/store/a").status == 404
    assert other.ask("DELETE", "/store/a").status == 404
    assert one.ask("GET", "/healthz").status == 200
    metrics = one.ask("GET", "/metrics").body.decode()
    assert 'blobkeep_store_request_seconds_count{kind="swap"}' in metrics
    assert 'blobkeep_store_request_errors_total{kind="get"} 0.0' in metrics


def test_a_blob_by_id_has_its_history(system: System) -> None:
    server = system.server()
    server.ask("POST", "/store/a/b", b"x" * LARGE)
    blob_id = server.ask("HEAD", "/store/a/b").headers["blob-id"]
    shown = json.loads(server.ask("GET", f"/blobs/{blob_id}").body)
    assert (shown["location"], shown["state"], shown["size"]) == ("a/b", "OK", LARGE)
    server.ask("DELETE", "/store/a/b")
    shown = json.loads(server.ask("GET", f"/blobs/{blob_id}").body)
    assert shown["state"] == "Failure"
    failed = json.loads(server.ask("GET", "/blobs/?state=Failure").body)["blobs"]
    assert [blob["id"] for blob in failed] == [blob_id]


def test_ids_are_described_as_the_text_that_they_are(system: System) -> None:
    server = system.server()
    server.ask("POST", "/store/of/an/id", b"x")
    page = json.loads(server.ask("GET", "/blobs/?limit=1").body)
    described = json.loads(server.ask("GET", "/openapi.json").body)["paths"]["/blobs/"]["get"]["parameters"]
    pattern = next(one["schema"]["pattern"] for one in described if one["name"] == "after")
    blob_id = page["blobs"][0]["id"]
    assert re.fullmatch(pattern, blob_id)
    assert server.ask("GET", f"/blobs/?after={blob_id}").status == 200
    refused = server.ask("GET", "/blobs/?after=5")
    assert refused.status == 400
    assert b"pass the last page's next" in refused.body


def test_a_replaced_blob_by_id_has_its_whole_history(system: System) -> None:
    server = system.server()
    ids = []
    for method in ("POST", "PUT"):
        server.ask(method, "/store/a", b"small")
        ids.append(server.ask("HEAD", "/store/a").headers["blob-id"])
    server.ask("DELETE", "/store/a")
    shown = [json.loads(server.ask("GET", f"/blobs/{blob_id}").body) for blob_id in ids]
    ends = [f"Deleted! Replaced by blob {ids[1]}", "Deleted!"]
    begins = ["Blob Created & Saved!", "Blob Updated & Saved!"]
    for blob, end, begin in zip(shown, ends, begins, strict=True):
        messages = [event["message"] for event in blob["history"]]
        assert messages == [end, "Blob Data WR Complete!", "Starting Data WR", begin]
        times = [event["time"] for event in blob["history"]]
        assert times == sorted(times, reverse=True)
    assert [blob["sequence"] for blob in shown] == [1, 2]


def test_the_gc_leaves_what_is_served_and_nothing_else(system: System) -> None:
    server = system.server()
    for _ in range(3):
        server.ask("PUT" if _ else "POST", "/store/kept", os.urandom(LARGE))
    server.ask("POST", "/store/gone", os.urandom(LARGE))
    server.ask("DELETE", "/store/gone")
    broken = RawConnection(server.port)
    broken.request("POST", "/store/broken", {"Content-Length": str(2 * LARGE)})
    broken.send(os.urandom(LARGE))
    wait_for(lambda: len(system.keys(keys.GC)) >= 6, what="the upload's being staged")
    broken.close()
    system.worker("gc")
    wait_for(lambda: not system.keys(keys.GC), what="the collection")
    owners = {keys.owner_of(key) for key in system.keys(keys.DATA)}
    assert [owner[0] for owner in owners if owner is not None] == [keys.name_of("kept")]
    assert len(system.keys(keys.DATA)) == 3  # its parts
    assert len(server.ask("GET", "/store/kept").body) == LARGE


def test_the_check_finds_damage_and_it_is_not_served(system: System) -> None:
    server = system.server()
    server.ask("POST", "/store/good", b"x" * LARGE)
    server.ask("POST", "/store/bad", b"x" * LARGE)
    part, *_ = [key for key in system.keys(keys.DATA) if keys.name_of("bad") in key]
    asyncio.run(BucketClient(system.settings, Meter()).put(part, b"y" * (1 << 20), None))
    check = system.worker("recovery", "--once")
    assert check.popen.wait(60) == 1
    assert "1 damaged" in check.said()
    again = system.worker("recovery", "--once")
    assert again.popen.wait(60) == 1  # it is still there
    assert "1 damaged" in again.said()
    assert server.ask("GET", "/store/bad").status == 500
    assert server.ask("HEAD", "/store/bad").status == 500
    assert server.ask("GET", "/store/good").status == 200
    assert server.ask("PUT", "/store/bad", b"new").status == 200
    assert server.ask("GET", "/store/bad").body == b"new"
    assert part in system.keys(keys.DATA)  # kept, so that people can look at it


def test_a_server_does_not_start_without_its_store(tmp_path: Path) -> None:
    env = {
        "BLOBKEEP_ENGINE": "objects",
        "BLOBKEEP_OBJECTS_ENDPOINT": "http://127.0.0.1:9",
        "BLOBKEEP_OBJECTS_BUCKET": "b",
        "BLOBKEEP_OBJECTS_PATIENCE": "0.5",
        "AWS_ACCESS_KEY_ID": "a-key",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
    }
    process = Process("server", tmp_path / "s", "-s", "127.0.0.1:0", env=env)
    assert process.popen.wait(60) == 1
    assert "cannot start" in process.said()
    assert "a-secret" not in process.said()


@pytest.mark.parametrize("promise", [{"keep_deleted_s": 1.0}, {"max_bytes": (("a/", 1e9),)}])
def test_a_server_refuses_to_promise_what_this_engine_does_not_do(
    promise: dict[str, Any], tmp_path: Path
) -> None:
    engine = ObjectsEngine(Config(dir=str(tmp_path), engine="objects", objects_bucket="b", **promise))
    with pytest.raises(ConfigError, match="works only with engine"):
        asyncio.run(engine.own())


@contextlib.contextmanager
def on_a_store(*lines: str) -> Iterator[subprocess.Popen[str]]:
    """A program of `lines`, which has started the store for development: `ports`, `pid`."""
    program = "\n".join(
        [
            "import signal, sys, time",
            "from services.engines.objects import development",
            "ports, pid = development.start(sys.argv[1])",
            *lines,
            "time.sleep(600)",
        ]
    )
    with (
        tempfile.TemporaryDirectory(prefix="bk-weed-", dir="/tmp") as folder,
        subprocess.Popen(
            [sys.executable, "-c", program, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as started,
    ):
        yield started


def printed(program: subprocess.Popen[str]) -> list[int]:
    assert program.stdout is not None
    return [int(number) for number in program.stdout.readline().split()]


def test_the_store_for_development_ends_with_who_started_it() -> None:
    with on_a_store("print(*ports, flush=True)") as starter:
        ports = Ports(*printed(starter))
        assert development.is_ready(ports)
        starter.kill()
        wait_for(lambda: not development.is_ready(ports), what="the store's end")


def test_the_store_for_development_is_gone_when_the_program_on_it_is_over() -> None:
    """`make run ENGINE=objects` left it for some seconds, with its ports and its folder."""
    with on_a_store(
        "development.stay_with(pid)",
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))",
        "print(pid, flush=True)",
    ) as starter:
        (pid,) = printed(starter)
        os.kill(pid, 0)
        starter.terminate()
        assert starter.wait(60) == 7
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
