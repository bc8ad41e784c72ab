"""The product runs the same under `python -O`, since its asserts are only for the type checker."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = sorted(path for folder in ("common", "services") for path in (ROOT / folder).rglob("*.py"))


def asserts(source: str) -> list[ast.Assert]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]


def does_something(found: ast.Assert) -> bool:
    """True if it does more than look at values: a call (except isinstance), an assignment, or an await."""
    return any(
        isinstance(node, (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom))
        or (
            isinstance(node, ast.Call)
            and not (isinstance(node.func, ast.Name) and node.func.id == "isinstance")
        )
        for node in ast.walk(found.test)
    )


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("assert a is not None", False),
        ("assert isinstance(a, str)", False),
        ("assert a.pop()", True),
        ("assert (b := a)", True),
    ],
)
def test_an_assert_that_does_something_is_found(source: str, wrong: bool) -> None:
    (found,) = asserts(source)
    assert does_something(found) is wrong


def test_nothing_in_the_product_depends_on_an_assert() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{one.lineno}"
        for path in CODE
        for one in asserts(path.read_text())
        if does_something(one)
    ]
    assert found == []
    assert not [path for path in CODE if "__debug__" in path.read_text()]
