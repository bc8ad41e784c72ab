"""One SeaweedFS for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import seaweed
from tests.support.seaweed import Seaweed


@pytest.fixture(scope="session")
def store_process() -> Iterator[Seaweed]:
    """A SeaweedFS that runs for the whole session."""
    process, folder = seaweed.start()
    with folder:
        yield process
        process.end()
