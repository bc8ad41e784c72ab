"""Each row of the table still fits the code: `make mutations` runs them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.mutations.table import ROOT, Mutation, all_rows

ROWS = all_rows()


def test_each_row_applies_and_changes_code_that_still_compiles(tmp_path: Path) -> None:
    wrong: list[str] = []
    for row in ROWS:
        copy = tmp_path / row.file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / row.file, copy)
        try:
            row.apply(tmp_path)
            compile(copy.read_text(), row.file, "exec")
        except (ValueError, SyntaxError) as err:
            wrong.append(f"{row.name}: {err}")
        else:
            changes = copy.read_text() != (ROOT / row.file).read_text()
            wrong += [] if changes else [f"{row.name} changes nothing"]
        wrong += [f"{row.name}: no {test}" for test in row.tests if not (ROOT / test.split("::")[0]).exists()]
    assert not wrong


def test_names_are_unique_and_no_break_stands_twice() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert len({(row.file, row.text, row.replacement) for row in ROWS}) == len(ROWS)


def test_a_row_that_does_not_fit_any_more_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="0 times"):
        Mutation("gone", "a.py", "y = 1", "", ()).apply(tmp_path)
