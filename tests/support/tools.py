"""Runs `blobkeep` as an operator does, and reads its output. Most commands run within the test's own process,
which costs a fifth of a new process. Terminals, pipes and signals are tested in real processes, with
`COMMAND`.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from services.tools import cli
from tests.support.environment import environment

COMMAND = [sys.executable, "-m", "services.tools"]


@dataclass
class Ran:
    """How a command ended. `json`: its document, where --json was among the arguments."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def tool(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Ran:
    """Run one command to its end. `env`: what its environment has besides."""
    out, err = io.StringIO(), io.StringIO()
    with _process_as_it_was(env or {}), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse ends a --help this way
            status = int(end.code or 0)
    return Ran(status, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _process_as_it_was(more: Mapping[str, str]) -> Iterator[None]:
    """Undoes what a command changes in its process."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    hooks = sys.excepthook, threading.excepthook
    umask = os.umask(0o077)
    on_stop = signal.getsignal(signal.SIGTERM)
    try:
        with mock.patch.dict(os.environ, environment(**more), clear=True):
            yield
    finally:
        logging.captureWarnings(False)
        root.handlers, root.level = handlers, level
        sys.excepthook, threading.excepthook = hooks
        os.umask(umask)
        signal.signal(signal.SIGTERM, on_stop)
