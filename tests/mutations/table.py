"""The table of mutations: what a row is, and the rows of all `rows_*.py` beside this file."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutation:
    """One break. `text` stands exactly once in `file`, a path from the root; `tests`: pytest arguments."""

    name: str
    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]

    def apply(self, root: Path) -> None:
        """Break the tree at `root`. Raises ValueError where the row does not fit the code any more."""
        path = root / self.file
        before = path.read_text()
        found = before.count(self.text)
        if found != 1:
            raise ValueError(f"{self.name}: its text stands {found} times in {self.file}")
        path.write_text(before.replace(self.text, self.replacement))


def all_rows() -> list[Mutation]:
    """Every row, by file of rows and by place in it."""
    package = Path(__file__).parent
    modules = sorted(m.name for m in pkgutil.iter_modules([str(package)]) if m.name.startswith("rows_"))
    return [row for name in modules for row in importlib.import_module(f"tests.mutations.{name}").ROWS]
