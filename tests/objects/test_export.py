"""Exports of an object store: what is imported again is the same, and what was damaged is named."""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from services.engines.objects import keys
from services.engines.objects.client import BucketClient
from services.engines.objects.meter import Meter
from tests.objects.test_system import System
from tests.support.seaweed import Seaweed
from tests.support.tools import tool

STORED = {
    "a/1": b"one",
    "a/2": bytes(range(256)) * 4096 * 3 + b"end",  # parts, and more than a MiB
    "b": b"",
    "ü [x]": b"x" * 511,
    "full": b"f" * (1 << 20),
}


@pytest.fixture(scope="module")
def system(store_process: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    made = System(store_process, tmp_path_factory.mktemp("export"))
    server = made.server()
    for location, body in STORED.items():
        headers = {"X-Meta-Owner": "me", "Content-Type": "text/x-it"}
        assert server.ask("POST", "/store/" + quote(location), body, headers).status == 201
    assert server.ask("PUT", "/store/b", b"").status == 200
    assert server.ask("POST", "/store/gone", b"gone").status == 201
    assert server.ask("DELETE", "/store/gone").status == 200
    yield made
    made.end()


def listed(*words: str | Path, env: Mapping[str, str] | None = None) -> list[dict[str, object]]:
    ran = tool("--json", "ls", "-l", *words, env=env)
    assert ran.status == 0, ran.err
    blobs: list[dict[str, object]] = json.loads(ran.out)["blobs"]
    return sorted(blobs, key=lambda blob: str(blob["location"]))


def test_what_is_imported_or_unpacked_is_what_was_exported(system: System, tmp_path: Path) -> None:
    tar = tmp_path / "e.tar"
    ran = tool("export", tar, "--json", env=system.env)
    assert ran.status == 0, ran.err
    size_bytes = sum(map(len, STORED.values()))
    assert (ran.json["blobs"], ran.json["bytes"], ran.json["left_out"]) == (len(STORED), size_bytes, [])
    assert tool("export", tar, env=system.env).status == 2, "it is there already"
    said = ("location", "size", "type")
    theirs = [{name: blob[name] for name in said} for blob in listed(env=system.env)]

    other = {**system.env, "BLOBKEEP_OBJECTS_PREFIX": f"{system.settings.prefix}again/"}
    for words, env in ((("--dir", tmp_path / "into", "--create"), None), ((), other)):
        assert tool("import", tar, *words, env=env).status == 0
        where = words[:2]
        assert [{name: blob[name] for name in said} for blob in listed(*where, env=env)] == theirs
        again = tool("import", tar, "--json", *words[:2], env=env)
        assert again.json["same"] == len(STORED), "by their SHA-256"
        assert tool("get", "a/2", tmp_path / "back", *where, env=env).status == 0
        assert (tmp_path / "back").read_bytes() == STORED["a/2"]

    unpacked = tmp_path / "unpacked"
    with tarfile.open(tar) as file:
        file.extractall(unpacked, filter="data")
    assert tool("check", "--dir", unpacked).status == 0
    assert [(b["location"], b["modified"]) for b in listed("--dir", unpacked)] == [
        (b["location"], b["modified"]) for b in listed(env=system.env)
    ]
    shown = [
        tool("--json", "show", "a/1", *w, env=e) for w, e in (((), system.env), (("--dir", unpacked), None))
    ]
    histories = [json.loads(one.out)["blobs"][0]["history"] for one in shown]
    assert histories[0] == histories[1]


def test_what_is_damaged_is_left_out_and_named(system: System, tmp_path: Path) -> None:
    part, *_ = [key for key in system.keys(keys.DATA) if keys.name_of("a/2") in key]
    asyncio.run(BucketClient(system.settings, Meter()).put(part, b"z" * (1 << 20), None))
    for number in range(2):  # found by the export itself, then known from the pointer
        ran = tool("export", tmp_path / f"{number}.tar", "--json", env=system.env)
        assert ran.status == 1
        assert ran.json["blobs"] == len(STORED) - 1
        assert [text[:5] for text in ran.json["left_out"]] == ["'a/2'"]


def test_no_blob_is_no_backup_where_some_were(system: System, tmp_path: Path) -> None:
    nothing = {**system.env, "BLOBKEEP_OBJECTS_PREFIX": f"{system.settings.prefix}nothing/"}
    assert tool("export", tmp_path / "first.tar", env=nothing).status == 0
    assert tool("export", tmp_path / "second.tar", env=system.env).status < 2  # 1: a damaged one was left out
    ran = tool("export", tmp_path / "third.tar", env=nothing)
    assert ran.status == 1
    assert "has no blob" in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.tar", "second.tar"]
