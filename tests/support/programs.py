"""Programs of others that tests run: where they are, and what is said at the end of a run that lacks some."""

from __future__ import annotations

import collections
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

_TABLE = Path(__file__).resolve().parent.parent / "programs.txt"
_LACKS = re.compile(r"(?:Skipped: )?(\S+) is not installed")
# Where programs for root, and those that were put there by hand, are found by others, too.
_MORE = ("/usr/local/bin", "/usr/sbin", "/sbin")


def packages() -> dict[str, str]:
    """The Debian package of each program. What is not in tests/programs.txt is not asked for."""
    lines = (line for line in _TABLE.read_text().splitlines() if not line.startswith("#"))
    split = (line.split() for line in lines)
    return {words[0]: words[1] for words in split}


def find(program: str) -> str | None:
    """The path of `program`, which tests/programs.txt names; None where it is not installed."""
    if program not in packages():
        raise LookupError(f"{program} is not in {_TABLE}")
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_MORE]))


def need(program: str) -> str:
    """The path of `program`; skips the test where it is not installed."""
    found = find(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def needs(program: str) -> pytest.MarkDecorator:
    """Marks a test that is skipped where `program` is not installed."""
    return pytest.mark.skipif(find(program) is None, reason=f"{program} is not installed")


def lacking(reasons: Iterable[str]) -> str:
    """What to install, made of the reasons for which tests were skipped; empty where no program lacks."""
    found = (_LACKS.fullmatch(reason) for reason in reasons)
    counted = collections.Counter(match[1] for match in found if match)
    if not counted:
        return ""
    table = packages()
    each = ", ".join(f"{program} ({count})" for program, count in sorted(counted.items()))
    wanted = " ".join(sorted({table[program] for program in counted if program in table}))
    return (
        f"{counted.total()} tests were skipped for lack of programs: {each}.\n"
        f"To run them: sudo apt-get install {wanted}"
    )
