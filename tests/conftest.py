"""Fixtures that all tests share: a data directory that is checked against the rules, and a real server."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from tornado.ioloop import IOLoop

# Even if the environment forbids it, Python must keep compiled files. Tests start hundreds of processes, and
# to compile all imports takes longer than the rest of a start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# This must come before the import of tests/support: then its asserts also work under `python -O`, and show
# their values.
_FOLDERS = [path.name for path in Path(__file__).parent.iterdir() if (path / "__init__.py").exists()]
pytest.register_assert_rewrite(*(f"tests.{name}" for name in _FOLDERS))

from tests.support import compiled, programs, small_journal  # noqa: E402
from tests.support.processes import Process, Server  # noqa: E402
from tests.support.rules import DataDirectory  # noqa: E402
from tests.support.stores import memory_folder  # noqa: E402

# No limit for one example, since its time depends on the machine. Whole tests have a time-out.
settings.register_profile("blobkeep", deadline=None)
settings.load_profile("blobkeep")

small_journal.apply()

StartServer = Callable[..., Server]


# Folders whose tests take seconds. Their files run first, so that no worker gets a long one at the end.
_LONG = ("torture", "objects", "browser", "process", "clients", "restic", "cuts", "crashes", "model", "http1")

_LONG_NAME = 200  # characters


def pytest_configure(config: pytest.Config) -> None:
    compiled.compile_for_workers(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first. A file stays on one worker (`--dist loadfile`), which shares what it starts."""
    items.sort(key=lambda item: item.path.parent.name not in _LONG)  # stable


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A short name for a long value. pytest would write all its bytes into the test's name, which each worker
    sends, and each report holds more than once: 19 MB of names in the whole suite.
    """
    if isinstance(val, str | bytes) and len(val) > _LONG_NAME:
        return f"{argname} of {len(val)}"
    return None


def pytest_collection_finish() -> None:
    """Collected tests stay until the end. So garbage collections, here and in forked processes, can skip
    them. And tests that keep much, such as syntax trees, need not have it looked through hundreds of times:
    that was a tenth of the CPU of tests/unit.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """At the end, say which programs are missing, and how to install them."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)]
    if told := programs.lacking(reasons):
        terminalreporter.section("programs that are not installed")
        terminalreporter.write_line(told)


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """The loop of a test, in place of pytest-tornado's own, which calls what Tornado has since deprecated."""
    loop = IOLoop(make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


@pytest.fixture
def base() -> Iterator[Path]:
    """An empty folder in memory, for tests that make many directories or many changes."""
    path = Path(tempfile.mkdtemp(prefix="blobkeep-", dir=memory_folder()))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDirectory]:
    """A data directory, not made yet; checked against the design's rules when the test is over."""
    made = DataDirectory(tmp_path / "data")
    yield made
    made.check()


@pytest.fixture
def start_server(data: DataDirectory) -> Iterator[StartServer]:
    """Starts real servers on `data`: `start_server("--put-creates")`. They end with the test."""
    started: list[Process] = []

    def start(*flags: str, **options: Any) -> Server:
        server = Server(data.path, *flags, **options)
        started.append(server)
        return server

    yield start
    for server in started:
        server.end()


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """A real server with default options, serving `data`."""
    return start_server()
