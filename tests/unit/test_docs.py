"""What is generated is current, and what the documents point to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common.options import OPTIONS
from common.options_reference import as_markdown

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))


def test_the_reference_of_options_is_what_the_table_says() -> None:
    made = as_markdown()
    assert (ROOT / "docs" / "options.md").read_text() == made, (
        "run: python -m common.options_reference > docs/options.md"
    )
    for name in OPTIONS:
        assert f"### `{name}`\n" in made


@pytest.mark.parametrize("path", [ROOT / "README.md", *DOCS], ids=lambda path: path.name)
def test_what_a_document_points_to_is_there(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} points to {target}"
