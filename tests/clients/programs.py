"""Runs other people's programs against a server. A test is skipped only if its program is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.programs import need


def python_with(module: str) -> str:
    """An interpreter that has `module`: ours, or one on PATH. Skips the test if there is none."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    for python in (sys.executable, *(f"{folder}/python3" for folder in folders)):
        ours = [python, "-c", f"import {module}"]
        if os.access(python, os.X_OK) and not subprocess.run(ours, capture_output=True).returncode:
            return python
    return need(module)  # this is no program, so the test is skipped


def run(
    *command: str | Path,
    cwd: Path | None = None,
    stdin: bytes = b"",
    expect: int = 0,
    env: dict[str, str] | None = None,
) -> tuple[str, str]:
    """(stdout, stderr) of a program that must end with the status `expect`. It runs without a proxy and
    without the user's settings.
    """
    clean = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and "CA_BUNDLE" not in k}
    clean |= {"HOME": str(cwd or "/nonexistent"), "LC_ALL": "C", **(env or {})}
    done = subprocess.run(
        [command[0] if os.path.isabs(command[0]) else need(str(command[0])), *command[1:]],
        cwd=cwd,
        env=clean,
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    assert done.returncode == expect, f"{command} ended with {done.returncode}:\n{out}\n{err}"
    return out, err
