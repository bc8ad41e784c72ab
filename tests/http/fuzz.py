"""`python -m tests.http.fuzz --seed 1 --size 500`: a real server, fuzzed from its own description.

Schemathesis sends what /openapi.json describes, and much that it does not. It is a program of its own, so
that its warnings are not ours. It fails on any 5xx, and on any status, header or body that the description
does not have.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.http.conftest import CONNECTIONS
from tests.support.processes import Server
from tests.support.rules import DataDirectory

CONFIG = Path(__file__).with_name("schemathesis.toml")


def fuzz(url: str, seed: int, size: int, *more: str) -> subprocess.CompletedProcess[str]:
    """Send about `size` random requests to each operation, and the limits of each parameter. `url`: of the
    description. Exit status 0: every answer was as described.
    """
    program = Path(sys.executable).with_name("schemathesis")
    with tempfile.TemporaryDirectory() as elsewhere:  # it keeps its finds in the folder where it runs
        return subprocess.run(
            [
                str(program),
                *("--config-file", str(CONFIG)),
                *("run", url),
                *("--seed", str(seed), "--max-examples", str(size)),
                *("--generation-database", "none", "--continue-on-failure"),
                *more,
            ],
            cwd=elsewhere,
            capture_output=True,
            text=True,
        )


def main() -> int:
    """Fuzz a server on each of the two connection classes. Exit status 1 if any answer was not as
    described.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=500)
    options = parser.parse_args()
    failed = False
    for connection in CONNECTIONS:
        with tempfile.TemporaryDirectory() as root:
            data = DataDirectory(Path(root) / "data")
            server = Server(data.path, "--http", connection, "--put-creates")
            try:
                run = fuzz(f"http://127.0.0.1:{server.port}/openapi.json", options.seed, options.size)
            finally:
                server.end()
            data.check()
            sys.stdout.write(f"{connection}:\n{run.stdout}{run.stderr}")
            failed |= run.returncode != 0 or "Traceback" in server.said()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
