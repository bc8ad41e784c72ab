"""Programs on a terminal of their own: what they show to a person, not to a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Sequence

from tests.support.environment import ROOT


def run_on_terminal(command: Sequence[str], env: dict[str, str] | None = None) -> tuple[int, str]:
    """(exit status, all that the program wrote to its terminal: stdout and stderr)."""
    master, slave = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
    environment |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **(env or {})}
    try:
        process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=ROOT
        )
    finally:
        os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 65536):
            shown += part
    except OSError:  # Linux reports so that the other end is closed
        pass
    finally:
        os.close(master)
    return process.wait(120), shown.decode(errors="replace")
