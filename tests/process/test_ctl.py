"""`ctl` in scripts: what it prints is safe to pass on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.process.test_supervision import Supervisord


def test_the_pid_of_what_does_not_run_is_not_0(tmp_path: Path) -> None:
    """`kill -9 $(blobkeep ctl pid server)` while it started again killed the shell that asked."""
    supervisord = Supervisord(tmp_path)
    folder = tmp_path / "data"
    (folder / ".run").mkdir(parents=True)
    shutil.copy(supervisord.conf, folder / ".run/supervisord.conf")

    def ctl(*words: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "services.tools", "ctl", "--dir", str(folder), *words]
        done = subprocess.run(
            command, env=supervisord.environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout, done.stderr

    try:
        pid = supervisord.pid_of("server")
        assert ctl("pid", "server") == (0, f"{pid}\n", "")
        assert ctl("stop", "server")[0] == 0
        status, out, err = ctl("pid", "server")
        assert (status, out) == (1, "")
        assert "server does not run" in err
    finally:
        supervisord.end()
