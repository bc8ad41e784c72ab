"""The fixture `engine`: each engine in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import makers
from tests.engines.makers import EngineMaker, Maker
from tests.objects.conftest import store_process

__all__ = ["engine", "store_process"]


@pytest.fixture(params=["memory", "local", "objects"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    """Makes an empty store of one engine."""
    match request.param:
        case "memory":
            yield makers.in_memory
        case "local":
            yield makers.local(tmp_path)
        case "objects":
            yield makers.objects(request.getfixturevalue("store_process"))


@pytest.fixture(params=["memory", "local", "objects"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> EngineMaker:
    """Makes an engine, each time the one that keeps the same blobs."""
    match request.param:
        case "memory":
            return makers.memory_engine(tmp_path)
        case "local":
            return makers.local_engine(tmp_path)
        case _:
            return makers.objects_engine(tmp_path, request.getfixturevalue("store_process"))
