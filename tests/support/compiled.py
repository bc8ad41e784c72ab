"""Compiles test modules once, before the workers of pytest-xdist import them.

pytest rewrites the asserts of each module that it imports, which takes longer than all else of an import, and
keeps the result. In a fresh clone all workers would do that for all modules at the same time.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.environment import ROOT


def compile_for_workers(config: pytest.Config) -> None:
    """Before the workers of this run start: compile the modules that were not, or have changed since."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        _import_in_forks([path for path in _named(config.args) if _is_stale(path)])


def _named(arguments: Iterable[str]) -> list[Path]:
    """The test modules of this project that `pytest ARGUMENTS` collects."""
    found: set[Path] = set()
    for argument in arguments:
        path = Path(argument.partition("::")[0]).resolve()
        found.update(path.rglob("test_*.py") if path.is_dir() else [path])
    return sorted(path for path in found if path.is_relative_to(ROOT) and path.suffix == ".py")


def _is_stale(path: Path) -> bool:
    tag = f"{sys.implementation.cache_tag}-pytest-{pytest.__version__}"
    compiled = path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc"
    try:
        return compiled.stat().st_mtime < path.stat().st_mtime
    except FileNotFoundError:
        return True


def _import_in_forks(paths: list[Path]) -> None:
    """In as many processes as there are cores. What cannot be imported is told when a worker collects it."""
    cores = os.cpu_count() or 1
    shares = [share for first in range(cores) if (share := paths[first::cores])]
    children = []
    for share in shares:
        if child := os.fork():
            children.append(child)
            continue
        for path in share:
            with contextlib.suppress(BaseException):  # also `pytest.skip` of a whole module
                importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        os._exit(0)
    for child in children:
        os.waitpid(child, 0)
