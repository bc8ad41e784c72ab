"""Directories that other versions of this server wrote open without changes: see tests/stored/make.py."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.stored import make
from tests.support.processes import Process
from tests.support.rules import DataDirectory

STORED = sorted(path.name.removesuffix(".tar.xz") for path in make.HERE.glob("*.tar.xz"))


@pytest.fixture(params=STORED)
def name(request: pytest.FixtureRequest, data: DataDirectory) -> str:
    """The name of a stored directory, which has been unpacked into `data`."""
    name: str = request.param
    unpacked = data.path.parent / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-C", str(unpacked), "-xJf", str(make.HERE / f"{name}.tar.xz")], check=True)
    shutil.move(unpacked / "data", data.path)
    return name


def expected(name: str) -> object:
    return json.loads(Path(make.HERE, f"{name}.json").read_text())


def test_it_answers_what_its_own_server_did(name: str, data: DataDirectory) -> None:
    assert make.answers(data.path) == expected(name)
    assert make.answers(data.path) == expected(name)  # and again, from what the first start left


def test_the_check_finds_what_is_known_and_no_more(name: str, data: DataDirectory) -> None:
    recovery = Process("recovery", data.path, "--once")
    assert recovery.popen.wait(60) == 1, recovery.said()  # of the blob in quarantine
    assert make.answers(data.path) == expected(name)
    gc = Process("gc", data.path, "--once")
    assert gc.popen.wait(60) == 0, gc.said()
    folders = [path for path in data.path.iterdir() if path.name.isdigit()]
    listing = json.loads(Path(make.HERE, f"{name}.json").read_text())["listing"]["blobs"]
    assert len(folders) == len(listing)


def test_there_is_one_from_before_the_move_and_one_of_today() -> None:
    assert {"before-the-move", "today"} <= set(STORED)
