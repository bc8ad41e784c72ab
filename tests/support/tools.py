"""Running `python -m services.tools` as an operator does, and reading what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT

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


def environment() -> dict[str, str]:
    """Ours, without options of Blobkeep, and without the configuration file of the project."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BLOBKEEP_")}
    return {**kept, "PYTHONPATH": str(ROOT), "BLOBKEEP_CONFIG": os.devnull}


def tool(*arguments: str | Path, stdin: str = "") -> Ran:
    """Run one command to its end."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
