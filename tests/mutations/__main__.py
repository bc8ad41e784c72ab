"""`python -m tests.mutations [--seed N] [--size N] [--workers N] [NAME ...]`: break the product, and see
which tests notice. It works in copies of the tree, one row at a time in each. First the tests must pass
without a break. Prints a table. The exit status is 1 if a break was missed, or a row does not fit the code
any more.
"""

from __future__ import annotations

import argparse
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.mutations.table import ROOT, Mutation, all_rows

_NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".venv-*", "data", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "*.sock"
)
_TIMEOUT_S = 600
_WHOLE_TIMEOUT_S = 3600
_FAILED = 1  # pytest's exit status if tests ran and failed; others say nothing about the break


def run_tests(root: Path, tests: Sequence[str], workers: int = 1) -> subprocess.CompletedProcess[str]:
    """Run pytest in `root` until the first failure."""
    several = ["-n", str(workers)] if workers > 1 else []
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *several, *tests],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S if workers == 1 else _WHOLE_TIMEOUT_S,
        check=False,
    )


def judge(root: Path, row: Mutation) -> str:
    """ "caught", or what is wrong. When this returns, the file is as before."""
    path = root / row.file
    before = path.read_bytes()
    try:
        row.apply(root)
        done = run_tests(root, row.tests)
    except ValueError as err:
        return str(err)
    except subprocess.TimeoutExpired:
        return "caught"  # it hangs, which is noticed, too
    finally:
        path.write_bytes(before)
    if done.returncode == _FAILED:
        return "caught"
    if done.returncode == 0:
        return "MISSED"
    return f"pytest ended with {done.returncode}: {done.stdout[-500:]}"


def chosen(rows: list[Mutation], names: list[str], seed: int, size: int) -> list[Mutation]:
    """The rows with these names, or `size` at random (0: all)."""
    if names:
        unknown = set(names) - {row.name for row in rows}
        if unknown:
            raise SystemExit(f"no such mutation: {', '.join(sorted(unknown))}")
        return [row for row in rows if row.name in names]
    return random.Random(seed).sample(rows, size) if 0 < size < len(rows) else rows


def main() -> int:
    """See the module docstring."""
    parser = argparse.ArgumentParser(prog="tests.mutations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=0, help="how many rows; 0: all")
    parser.add_argument("--workers", type=int, default=1, help="how many rows at the same time")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    rows = chosen(all_rows(), options.names, options.seed, options.size)
    missed = 0
    with tempfile.TemporaryDirectory(prefix="blobkeep-mutations-") as temp:
        trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(options.workers):
            root = Path(temp, f"tree{number}")
            shutil.copytree(ROOT, root, ignore=_NOT_COPIED)
            trees.put(root)
        whole = run_tests(root, sorted({test for row in rows for test in row.tests}), options.workers)
        if whole.returncode != 0:
            sys.stdout.write(f"The tests fail without any break:\n{whole.stdout[-3000:]}\n")
            return 1
        with ThreadPoolExecutor(options.workers) as workers:
            for row, (verdict, seconds) in zip(rows, workers.map(partial(_timed, trees), rows), strict=True):
                missed += verdict != "caught"
                sys.stdout.write(f"{verdict:8} {seconds:6.1f} s  {row.name}\n")
                sys.stdout.flush()
    sys.stdout.write(f"{len(rows) - missed} of {len(rows)} caught\n")
    return 1 if missed else 0


def _timed(trees: queue.SimpleQueue[Path], row: Mutation) -> tuple[str, float]:
    """The verdict and its time in seconds, in a tree that is not used otherwise meanwhile."""
    root = trees.get()
    began = time.monotonic()
    try:
        return judge(root, row), time.monotonic() - began
    finally:
        trees.put(root)


if __name__ == "__main__":
    sys.exit(main())
