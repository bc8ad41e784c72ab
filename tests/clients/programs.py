"""Running other people's programs against a server, each skipped only where it is not installed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.programs import need


def run(
    *command: str | Path,
    cwd: Path | None = None,
    stdin: bytes = b"",
    expect: int = 0,
    env: dict[str, str] | None = None,
) -> tuple[str, str]:
    """(stdout, stderr) of a program that must end with the status `expect`. No proxy, no user's settings."""
    clean = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    clean |= {"HOME": str(cwd or "/nonexistent"), "LC_ALL": "C", **(env or {})}
    done = subprocess.run(
        [need(str(command[0])), *command[1:]],
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
