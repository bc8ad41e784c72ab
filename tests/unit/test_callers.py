"""Every public function and method of the product has a caller.

Once the reserve for deletes was made only at a start, since nobody called the method that renews it. A name
counts as called if any other line of the product uses it. So two functions with one name hide each other, but
the check is cheap, and finds what was forgotten.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted([*ROOT.glob("common/**/*.py"), *ROOT.glob("services/**/*.py")])

# Called by other code than ours, by name.
CALLED_FROM_OUTSIDE = {
    "make_plugin": "supervisord, by supervisord.conf",
    **dict.fromkeys(["create_and_bind", "get_backlog"], "supervisord: the socket of a program has these"),
    **dict.fromkeys(["compute_etag", "log_exception", "write_error"], "Tornado: a handler has these"),
    **dict.fromkeys(
        ["set_body_timeout", "set_close_callback", "set_max_body_size", "set_nodelay", "write_headers"],
        "Tornado: a connection has these",
    ),
    **dict.fromkeys(["check_trusted_origin", "mkcol", "propfind"], "Tornado: a handler has these"),
    "emit": "logging: a handler has it",
    "collect": "Prometheus' library: a collector has it",
}


def names_in(tree: ast.AST) -> tuple[Counter[str], Counter[str]]:
    """(functions and methods that are defined, names that are used), each with its count."""
    defined: Counter[str] = Counter()
    used: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            defined[node.name] += 1
        elif isinstance(node, ast.Attribute):
            used[node.attr] += 1
        elif isinstance(node, ast.Name):
            used[node.id] += 1
    return defined, used


def test_every_public_function_has_a_caller() -> None:
    defined: Counter[str] = Counter()
    used: Counter[str] = Counter()
    for path in MODULES:
        in_one, used_in_one = names_in(ast.parse(path.read_text()))
        defined += in_one
        used += used_in_one
    forgotten = [name for name in defined if not name.startswith("_") and not used[name]]
    assert sorted(set(forgotten) - CALLED_FROM_OUTSIDE.keys()) == []
    needless = [name for name in CALLED_FROM_OUTSIDE if name not in forgotten]
    assert needless == [], "these have callers, or are gone: they need no exception"
