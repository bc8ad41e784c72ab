"""What the commands of `blobkeep` show on an object store while servers run."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.engines.objects import keys
from services.engines.objects.client import BucketClient
from services.engines.objects.meter import Meter
from services.store import Content
from tests.engines.makers import objects_store
from tests.objects.test_system import System
from tests.support.processes import wait_for
from tests.support.seaweed import Seaweed
from tests.support.tools import tool


@pytest.fixture(scope="module")
def system(store_process: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    made = System(store_process, tmp_path_factory.mktemp("commands"))
    server = made.server()
    for location, body in (("a/1", b"one"), ("a/2", b"x" * (3 << 20)), ("b", b""), ("bad", b"y" * (2 << 20))):
        assert server.ask("POST", f"/store/{location}", body, {"X-Meta-Owner": "me"}).status == 201
    yield made
    made.end()


def command(system: System, *words: str, status: int = 0) -> str:
    """Run a command. Gives what it prints."""
    ran = tool(*words, env=system.env)
    assert ran.status == status, ran.err
    return ran.out + ran.err


def test_what_is_there(system: System) -> None:
    assert command(system, "ls", "a/").split() == ["a/1", "a/2"]
    listed = json.loads(command(system, "--json", "ls", "-l"))["blobs"]
    assert [(blob["location"], blob["size"]) for blob in listed][:3] == [
        ("a/1", 3),
        ("a/2", 3 << 20),
        ("b", 0),
    ]
    assert "a/1" in command(system, "ls", "-a")
    shown = json.loads(command(system, "--json", "show", "a/1"))["blobs"][0]
    assert (shown["location"], shown["metadata"]) == ("a/1", {"x-meta-owner": "me"})
    assert len(shown["history"]) == 3
    assert "Blob Data WR Complete!" in command(system, "show", "--id", shown["id"])
    command(system, "show", "nothing", status=3)
    groups = json.loads(command(system, "--json", "du"))
    assert groups["groups"][0] == {"prefix": "a/", "blobs": 2, "bytes": 3 + (3 << 20)}


def test_blobs_go_in_and_out(system: System, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    command(system, "put", str(tmp_path / "file"), "put/it")
    command(system, "get", "put/it", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b"from a file"
    assert "put/it" in command(system, "ls")
    command(system, "rm", "put/it")
    assert "put/it" not in command(system, "ls")


def test_what_is_damaged_is_named(system: System) -> None:
    assert "0 damaged" in command(system, "check")
    assert "Nothing is in quarantine" in command(system, "quarantine", "list")
    part, *_ = [key for key in system.keys(keys.DATA) if keys.name_of("bad") in key]
    asyncio.run(BucketClient(system.settings, Meter()).put(part, b"z" * (1 << 20), None))
    assert "1 damaged" in command(system, "check", status=1)
    (found,) = json.loads(command(system, "--json", "quarantine", "list"))["quarantined"]
    assert found["location"] == "bad"
    assert "checksum" in found["reason"]
    assert "damaged" in command(system, "show", "bad", status=1)
    assert found["state"] == "answers 500"
    assert "Nothing in quarantine is named 'x'" in command(system, "quarantine", "drop", "x", status=3)


@pytest.fixture
def empty(store_process: Seaweed, tmp_path: Path) -> Iterator[System]:
    """Nothing runs yet, and there is no blob."""
    made = System(store_process, tmp_path)
    yield made
    made.end()


def test_a_damaged_blob_is_restored_and_dropped_while_servers_run(empty: System) -> None:
    system = empty
    system.env["BLOBKEEP_PUT_CREATES"] = "true"
    server, other = system.server(), system.server()
    client = BucketClient(system.settings, Meter())
    body = os.urandom(2 << 20)

    def damage() -> tuple[str, str, bytes]:
        """Rot a blob, so that a read finds it. Gives its name in quarantine, the part, and its good bytes."""
        assert server.ask("PUT", "/store/bad", body).status in (200, 201)
        before = set(system.keys(keys.DAMAGED))
        part = max(key for key in system.keys(keys.DATA) if keys.name_of("bad") in key)
        got = asyncio.run(client.get(part))
        assert got is not None
        good = bytes(got.data)
        asyncio.run(client.put(part, b"z" * len(good), None))
        assert server.ask("GET", "/store/bad", headers={"Range": "bytes=1048576-"}).status == 500
        wait_for(lambda: other.ask("HEAD", "/store/bad").status == 500, what="the damage is known")
        (name,) = (key.removeprefix(keys.DAMAGED) for key in set(system.keys(keys.DAMAGED)) - before)
        return name, part, good

    name, part, good = damage()
    assert "checksum in MiB 1" in command(system, "quarantine", "show", name, status=1)
    assert "is not restored" in command(system, "quarantine", "restore", name, status=1)
    asyncio.run(client.put(part, good, None))
    assert "It is whole" in command(system, "quarantine", "show", name)
    assert "bad is served again" in command(system, "quarantine", "restore", name)
    assert [one.ask("GET", "/store/bad").body for one in (server, other)] == [body, body]
    assert "leave out --url" in command(system, "quarantine", "restore", name, "--url", "x", status=2)
    assert "say --yes" in command(system, "quarantine", "drop", name, status=2)
    assert "1 removed" in command(system, "quarantine", "drop", name, "--yes")
    assert server.ask("GET", "/store/bad").body == body

    name, part, good = damage()
    asyncio.run(client.put(part, good, None))
    assert server.ask("PUT", "/store/bad", b"new").status == 200
    assert "was written anew since" in command(system, "quarantine", "restore", name, status=1)
    assert server.ask("DELETE", "/store/bad").status == 200
    assert "was deleted since" in command(system, "quarantine", "restore", name, status=1)
    command(system, "quarantine", "restore", name, "--to", "good")
    assert other.ask("GET", "/store/good").body == body
    freed = json.loads(command(system, "--json", "quarantine", "drop", name, "--yes"))["freed_bytes"]
    assert freed > len(body)
    assert not [key for key in system.keys(keys.DATA) if name in key]

    name, part, good = damage()
    command(system, "quarantine", "drop", name, "--yes")
    assert [one.ask("GET", "/store/bad").status for one in (server, other)] == [404, 404]
    assert "Nothing is in quarantine" in command(system, "quarantine", "list")


def test_the_check_counts_what_ls_shows_and_says_what_else_it_read(system: System) -> None:
    def checked() -> str:
        """Whether all is well depends on what the tests before this one have damaged."""
        ran = tool("check", env=system.env)
        assert ran.status in (0, 1), ran.err
        return ran.out + ran.err

    assert f"{len(command(system, 'ls').split())} blobs, " in checked()
    store = objects_store(BucketClient(system.settings, Meter()))
    asyncio.run(store.write_whole("\0mark", lambda blob, damaged: None, Content("text/plain"), b"x"))
    shown = len(command(system, "ls").split())
    assert f"{shown} blobs and 1 records of front ends, " in checked()


def test_a_server_that_keeps_nothing_says_so(system: System) -> None:
    server = system.server()
    server.ask("POST", "/store/gone", b"x")
    server.ask("DELETE", "/store/gone")
    url = f"http://127.0.0.1:{server.port}"
    for words in (["gone"], ["gone", "--list"]):
        assert "write it again, from a backup" in command(system, "undelete", *words, "--url", url, status=3)
    failed = json.loads(server.ask("GET", "/blobs/?state=Failure").body)["blobs"]
    blob_id = next((one["id"] for one in failed if one["location"] == "gone"), None)
    for asked in (blob_id, server.ask("HEAD", "/store/a/1").headers["blob-id"]):
        if asked is not None:
            refused = server.ask("POST", f"/blobs/{asked}/undelete")
            assert refused.status == 404
            assert b"from a backup" in refused.body
