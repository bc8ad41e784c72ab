"""What is generated is current, and what the documents point to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common.options import OPTIONS
from common.options_reference import as_markdown
from services.engines.local.disk import layout
from services.tools.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [*ROOT.glob("*.md"), ROOT / "tests" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


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


@pytest.mark.parametrize("name", ["README.md", "docs/operating.md"])
def test_what_is_to_be_typed_fits_a_terminal(name: str) -> None:
    lines = [line for line in (ROOT / name).read_text().splitlines() if line.startswith("    ")]
    assert len(lines) > 10
    assert [line for line in lines if len(line) > 100] == []


def test_every_alert_has_a_section_that_says_what_to_do() -> None:
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "conf" / "alerts.yml").read_text())
    operating = (ROOT / "docs" / "operating.md").read_text()
    sections = re.findall(r"^### (Blobkeep\w+)\n(.+)", operating, re.MULTILINE)
    assert {name for name, _ in sections} == set(alerts)
    assert all(len(text) > 20 for _, text in sections)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_sections_that_are_pointed_to_are_there(path: Path) -> None:
    for target, section in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", path.read_text()):
        if "://" in target:
            continue
        other = path.parent / target if target else path
        headings = re.findall(r"^#+ (.+)$", other.read_text(), re.MULTILINE)
        assert section in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}


def test_the_commands_in_the_documents_are_commands() -> None:
    for path in DOCS:
        used = set(re.findall(r"(?:`|^    |&& |/)blobkeep ([a-z]+)", path.read_text(), re.MULTILINE))
        assert used <= set(COMMANDS), path.name
    assert "blobkeep check" in (ROOT / "docs" / "operating.md").read_text()


def test_options_named_in_the_documents_are_options() -> None:
    spellings = {spelling for option in OPTIONS.values() for spelling in option.spellings}
    for name in ("operating.md", "troubleshooting.md"):
        text = (ROOT / "docs" / name).read_text()
        for found in re.findall(r"`([a-z_]+) = [^`]+`", text):
            assert found in spellings, f"{name}: {found}"


def test_the_files_and_folders_of_code_that_a_document_names_are_there() -> None:
    """A file may be named by the end of its path (`serving/hot_reads.py`), and a test by its function."""
    folders = ("common", "services", "tests", "bench", "packaging")
    files = [str(p.relative_to(ROOT)) for f in folders for p in (ROOT / f).rglob("*.py")]
    named = 0
    for path in TEXTS:
        text = path.read_text()
        for file, test in re.findall(r"([\w./-]+\.py)\b(?:::(\w+))?", text):
            found = [one for one in files if one == file or one.endswith(f"/{file}")]
            assert found, f"{path.name}: {file}"
            assert not test or f"def {test}(" in (ROOT / found[0]).read_text(), f"{path.name}: {test}"
            named += 1
        for folder in re.findall(rf"`((?:{'|'.join(folders)})(?:/[\w.-]+)*/)`", text):
            assert (ROOT / folder).is_dir(), f"{path.name}: {folder}"
    assert named > 100


def test_the_modules_in_the_table_of_the_architecture_are_there() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text().partition("\n## Where to look\n")[2]
    rows = re.findall(r"^\| `((?:common|services)/[\w/]*)` \|(.+)\|$", table, re.MULTILINE)
    assert len(rows) > 10
    for folder, said in rows:
        for name in re.findall(r"`([a-z_0-9]+)/?`", said):
            inside = ROOT / folder / name
            assert inside.is_dir() or inside.with_suffix(".py").exists(), f"{folder}{name}"


def test_each_file_of_the_connection_has_its_duty_in_the_table() -> None:
    table = (ROOT / "docs" / "connection.md").read_text()
    told = {name for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for name in row.split("`")}
    there = {path.name for path in (ROOT / "services" / "http1").glob("*.py")} - {"__init__.py"}
    assert there - told == set()


def test_the_architecture_says_who_writes_each_of_our_names() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.partition("\n## Who writes what\n")[2].partition("\n## ")[0]
    told = set(re.findall(r"`(\.[\w.-]+)[/`<]", "".join(re.findall(r"^\|([^|]+)\|", table, re.MULTILINE))))
    assert {name for name in layout.OUR_NAMES if not name.endswith(".tmp")} == told
