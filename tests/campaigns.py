"""`python -m tests.campaigns KIND --seed N --size N --jobs N`: a longer run of tests/KIND, and what it did.

The size is a multiple of what the suite runs; 0: everything.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path


def main() -> int:
    """pytest's exit status."""
    parser = argparse.ArgumentParser(prog="tests.campaigns")
    parser.add_argument("kind", choices=["model", "faults", "crashes", "rot", "fuzz"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=4)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="blobkeep-campaign-") as temp:
        path = Path(temp, "tally")
        environment = {
            **os.environ,
            "CAMPAIGN_SEED": str(options.seed),
            "CAMPAIGN_SIZE": str(options.size),
            "CAMPAIGN_TALLY": str(path),
        }
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-n", str(options.jobs), "--dist", "worksteal"),
                *("--timeout", "7200", f"tests/{options.kind}"),
            ],
            env=environment,
            check=False,
        )
        sums: Counter[str] = Counter()
        for line in path.read_text().splitlines() if path.exists() else []:
            number, what = line.split(" ", 1)
            sums[what] += int(number)
    for what, count in sums.items():
        sys.stdout.write(f"{count:12,} {what}\n")
    sys.stdout.write(f"seed {options.seed}, size {options.size}, {time.monotonic() - began:.0f} s\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
