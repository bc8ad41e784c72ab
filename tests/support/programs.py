"""Other programs that tests run: where they are, and what a test run says at its end if some are missing."""

from __future__ import annotations

import collections
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

_TABLE = Path(__file__).resolve().parent.parent / "programs.txt"
# programs and modules that Debian does not have, or has in a version that is too old
_OF_PYPI = _TABLE.with_name("programs-pypi.txt")
_LACKS = re.compile(r"(?:Skipped: )?(\S+) is not installed")
# Folders that may be missing on the PATH of other users: programs for root, and those installed by hand.
_MORE = ("/usr/local/bin", "/usr/sbin", "/sbin")


def packages() -> dict[str, str]:
    """The Debian package of each program. Only those in tests/programs.txt are used."""
    return _read(_TABLE)


def pypi_packages() -> dict[str, str]:
    """The package on PyPI of each program or module in tests/programs-pypi.txt."""
    return _read(_OF_PYPI)


def _read(table: Path) -> dict[str, str]:
    lines = (line for line in table.read_text().splitlines() if not line.startswith("#"))
    split = (line.split() for line in lines)
    return {words[0]: words[1] for words in split}


def find(program: str) -> str | None:
    """The path of `program`, which tests/programs.txt names; None if it is not installed."""
    if program not in packages() | pypi_packages():
        raise LookupError(f"{program} is not in {_TABLE}")
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_MORE]))


def need(program: str) -> str:
    """The path of `program`; skips the test if it is not installed."""
    found = find(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def needs(program: str) -> pytest.MarkDecorator:
    """Marks a test that is skipped if `program` is not installed."""
    return pytest.mark.skipif(find(program) is None, reason=f"{program} is not installed")


def lacking(reasons: Iterable[str]) -> str:
    """What to install, from the reasons why tests were skipped; empty if no program is missing."""
    found = (_LACKS.fullmatch(reason) for reason in reasons)
    counted = collections.Counter(match[1] for match in found if match)
    if not counted:
        return ""
    each = ", ".join(f"{program} ({count})" for program, count in sorted(counted.items()))
    text = f"{counted.total()} tests were skipped for lack of programs: {each}.\nTo run them: "
    ways = (("sudo apt-get install ", packages()), ("pip install ", pypi_packages()))
    found_in = ((how, sorted({table[one] for one in counted if one in table})) for how, table in ways)
    return text + "; ".join(how + " ".join(wanted) for how, wanted in found_in if wanted)
