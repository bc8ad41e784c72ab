"""Servers that the tests of a module share, one for each connection class. Their directories are checked
at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.support.processes import Server
from tests.support.rules import DataDirectory

CONNECTIONS = ("blobkeep", "tornado")

_numbers = itertools.count()


def shared_server(tmp_path_factory: pytest.TempPathFactory, connection: str, *flags: str) -> Iterator[Server]:
    """For fixtures of a module: a server whose directory is checked against the rules at the end."""
    data = DataDirectory(tmp_path_factory.mktemp("shared") / "data")
    server = Server(data.path, "--http", connection, *flags)
    try:
        yield server
        assert server.popen.poll() is None, f"the server ended:\n{server.said()}"
    finally:
        server.end()
    data.check()
    assert "Traceback" not in server.said(), server.said()


@pytest.fixture(scope="module", params=CONNECTIONS)
def strict(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with default options: PUT does not create."""
    yield from shared_server(tmp_path_factory, request.param)


@pytest.fixture(scope="module", params=CONNECTIONS)
def creating(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with put_creates."""
    yield from shared_server(tmp_path_factory, request.param, "--put-creates")


@pytest.fixture
def location() -> str:
    """A location that no other test uses."""
    return f"of/test/{next(_numbers)}"
