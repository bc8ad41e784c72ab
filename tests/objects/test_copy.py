"""`blobkeep copy`: a directory into an object store and back, while it is served."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.engines.objects import keys
from services.engines.objects.bucket import pages
from services.engines.objects.client import BucketClient
from services.engines.objects.development import ACCESS_KEY, BUCKET, SECRET_KEY
from services.engines.objects.meter import Meter
from services.tools.copying import PARALLEL
from tests.support.environment import environment
from tests.support.processes import Server, wait_for
from tests.support.seaweed import Seaweed
from tests.support.tools import COMMAND, tool

LARGE = 3 << 20


class Places:
    """A directory, and an empty prefix of the object store."""

    def __init__(self, store: Seaweed, folder: Path) -> None:
        self.folder = folder
        self.dir = folder / "data"
        self.env = {
            "BLOBKEEP_OBJECTS_ENDPOINT": store.ports.endpoint,
            "BLOBKEEP_OBJECTS_BUCKET": BUCKET,
            "BLOBKEEP_OBJECTS_PREFIX": store.settings().prefix,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }
        self._settings = store.settings(self.env["BLOBKEEP_OBJECTS_PREFIX"])
        self.servers: list[Server] = []

    def pointers(self) -> int:
        """The number of objects in the store."""

        async def go() -> int:
            client = BucketClient(self._settings, Meter())
            return len([one async for page in pages(client, keys.LOC) for one in page])

        return asyncio.run(go())

    def serve_dir(self, path: Path | None = None) -> Server:
        return self._serve(path or self.dir, {})

    def serve_objects(self) -> Server:
        return self._serve(self.folder / "reports", {"BLOBKEEP_ENGINE": "objects"})

    def _serve(self, path: Path, more: dict[str, str]) -> Server:
        server = Server(path, env={**self.env, **more})
        self.servers.append(server)
        return server

    def start_copy(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, "copy", "--json", *map(str, arguments)],
            env={**environment(), **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def copy(self, *arguments: str | Path, status: int = 0) -> dict[str, object]:
        """One pass, and its output."""
        ran = tool("copy", "--json", *arguments, env=self.env)
        assert ran.status == status, ran.err
        return dict(ran.json) if ran.out else {"error": ran.err}


@pytest.fixture
def places(store_process: Seaweed, tmp_path: Path) -> Iterator[Places]:
    made = Places(store_process, tmp_path)
    yield made
    for server in made.servers:
        server.end()


def about(server: Server, location: str) -> dict[str, object]:
    """The view by id, without what differs between engines."""
    blob_id = server.ask("HEAD", f"/store/{location}").headers["blob-id"]
    shown = json.loads(server.ask("GET", f"/blobs/{blob_id}").body)
    return {name: value for name, value in shown.items() if name not in ("id", "sequence")}


class Writer(threading.Thread):
    """Writes and deletes until it is stopped. `acknowledged`: by location, what must be there afterwards."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server = server
        self.stopping = threading.Event()
        self.acknowledged: dict[str, bytes | None] = {}

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            number += 1
            location, body = f"w/{number % 40}", b"%d" % number * (1 + number % 3)
            if number % 7 == 0:
                answer = self._server.ask("DELETE", f"/store/{location}")
                body_now = None
            else:
                there = self.acknowledged.get(location) is not None
                answer = self._server.ask("PUT" if there else "POST", f"/store/{location}", body)
                body_now = body
            if answer.status in (200, 201):
                self.acknowledged[location] = body_now
            self.stopping.wait(0.01)  # the copy needs the processor, too


def test_a_directory_moves_into_the_store_and_back_while_it_is_served(places: Places) -> None:
    server = places.serve_dir()
    large = os.urandom(LARGE)
    said = {"Content-Type": "image/png", "Cache-Control": "no-store", "X-Meta-Owner": "me"}
    assert server.ask("POST", "/store/a/large", large, said).status == 201
    assert server.ask("POST", "/store/empty", b"").status == 201
    before = {name: about(server, name) for name in ("a/large", "empty")}
    writer = Writer(server)
    writer.start()
    wait_for(lambda: len(writer.acknowledged) == 40, what="some writes")

    first = places.copy(places.dir, "objects")
    assert int(str(first["copied"])) > 2
    again = places.copy(places.dir, "objects")
    assert int(str(again["same"])) >= 2  # unchanged blobs are not copied again
    # While the server runs, no pass can be the last.
    assert "still holds" in str(places.copy(places.dir, "objects", "--final", status=4)["error"])
    writer.stopping.set()
    writer.join(120)
    assert server.stop() == 0
    assert places.copy(places.dir, "objects", "--final")["final"]

    other = places.serve_objects()
    assert {name: about(other, name) for name in before} == before
    assert other.ask("GET", "/store/a/large").body == large
    for location, body in writer.acknowledged.items():
        answer = other.ask("GET", f"/store/{location}")
        assert (answer.status, answer.body) == ((200, body) if body is not None else (404, answer.body))
    # A copy must not delete what was written since.
    assert "no copy that was begun" in str(places.copy(places.dir, "objects", status=2)["error"])
    assert other.ask("PUT", "/store/empty", b"not any more").status == 200
    latest = about(other, "empty")

    back = places.folder / "back"
    assert places.copy("objects", back)["problems"] == []
    assert other.stop() == 0
    assert places.copy("objects", back, "--final")["final"]
    last = places.serve_dir(back)
    assert about(last, "a/large") == before["a/large"]
    assert about(last, "empty") == latest
    assert last.ask("GET", "/store/a/large").body == large
    for location, body in writer.acknowledged.items():
        assert (last.ask("GET", f"/store/{location}").status == 200) == (body is not None)


def test_a_copy_that_was_killed_goes_on_where_it_was(places: Places) -> None:
    server = places.serve_dir()
    count = 4 * PARALLEL  # of which a quarter is copied at a time
    for number in range(count):
        server.ask("POST", f"/store/{number:02}", os.urandom(100_000))
    with places.start_copy(places.dir, "objects") as killed:
        wait_for(lambda: places.pointers() > 2 or killed.poll() is not None, what="some of the copy")
        assert killed.poll() is None
        killed.kill()
    done = places.copy(places.dir, "objects")
    assert int(str(done["copied"])) + int(str(done["same"])) == count
    assert places.copy(places.dir, "objects")["same"] == count
    assert server.stop() == 0
    assert places.copy(places.dir, "objects", "--final")["same"] == count


def test_what_is_damaged_is_named_and_keeps_the_target_from_being_served(places: Places) -> None:
    server = places.serve_dir()
    assert server.ask("POST", "/store/good", b"g" * LARGE).status == 201
    assert server.ask("POST", "/store/bad", b"b" * LARGE).status == 201
    bad_id = server.ask("HEAD", "/store/bad").headers["blob-id"]
    assert server.stop() == 0
    data = places.dir / bad_id / "data.raw"
    data.write_bytes(b"B" + data.read_bytes()[1:])
    found = places.copy(places.dir, "objects", "--final", status=1)
    assert "bad" in str(found["problems"])
    assert not found["final"]
    assert places.copy(places.dir, "objects", "--final", "--even-damaged", status=1)["final"]
    other = places.serve_objects()
    assert other.ask("GET", "/store/good").status == 200
    assert other.ask("GET", "/store/bad").status == 404


def test_what_was_deleted_does_not_come_back(places: Places) -> None:
    server = places.serve_dir()
    for name in ("a", "b", "c"):
        assert server.ask("POST", f"/store/{name}", name.encode()).status == 201
    assert places.copy(places.dir, "objects")["copied"] == 3
    assert server.ask("DELETE", "/store/b").status == 200
    assert server.ask("PUT", "/store/c", b"new").status == 200
    assert server.stop() == 0
    done = places.copy(places.dir, "objects", "--final")
    assert (done["copied"], done["same"], done["deleted"]) == (1, 1, 1)
    other = places.serve_objects()
    assert [other.ask("GET", f"/store/{name}").status for name in ("a", "b", "c")] == [200, 404, 200]
    assert other.ask("GET", "/store/c").body == b"new"


def test_a_place_with_other_blobs_is_refused(places: Places) -> None:
    server = places.serve_dir()
    server.ask("POST", "/store/mine", b"x")
    other = places.serve_objects()
    other.ask("POST", "/store/theirs", b"y")
    assert "holds blobs" in str(places.copy(places.dir, "objects", status=2)["error"])
    assert "the same place" in str(places.copy("objects", "objects", status=2)["error"])
    assert other.ask("GET", "/store/theirs").body == b"y"
