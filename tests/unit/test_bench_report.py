"""The benchmark's arithmetic: medians, ratios, verdicts, and the page, which keeps its part written by
hand.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import report, targets
from bench.measure import Figure, Values, median

GET = "GET 1 KiB, 16 connections"


def rate(peer: str, per_s: float, cpu_us: float = 10.0) -> Figure:
    values: Values = {"per_s": per_s, "cpu_us": cpu_us, "p50_us": 100, "p99_us": 2000, "errors": 0}
    return Figure(GET, peer, values)


def test_the_median_of_the_rounds_counts() -> None:
    figures = [rate("nginx", value) for value in (5, 100, 7)]
    assert median(figures, GET, "nginx", "per_s") == 7
    assert median(figures[:2], GET, "nginx", "per_s") == 52.5
    assert median(figures, GET, "blobkeep", "per_s") is None
    assert median(figures, GET, "nginx", "seconds") is None


def row_of(text: str, begin: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {begin}"))


@pytest.mark.parametrize(("ours", "reached"), [(90.0, "**no**"), (100.0, "yes"), (250.0, "yes")])
def test_a_target_is_a_ratio_of_one_run(ours: float, reached: str) -> None:
    table = targets.verdicts([rate("blobkeep", ours), rate("nginx", 100)])
    row = row_of(table, "GET 1 KiB, 16 connections, against nginx: rate")
    assert row.endswith(f"| ≥ 1 | {ours / 100:.2f} | {reached} |")


def test_for_cpu_less_is_better_and_the_ratio_says_so() -> None:
    table = targets.verdicts([rate("blobkeep", 1, cpu_us=20), rate("blobkeep, stock Tornado", 1, cpu_us=100)])
    assert row_of(table, "the same against itself on stock Tornado").endswith("| ≥ 2 | 5.00 | yes |")


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    for line in targets.verdicts([]).splitlines()[2:]:
        assert line.endswith("| not in this run |  |")


def test_the_page_has_a_row_for_what_was_measured_and_our_ratio_to_each_peer() -> None:
    page = report.page({"system": "a test"}, [rate("blobkeep", 300), rate("nginx", 100), rate("swift", 10)])
    assert "- system: a test" in page
    assert row_of(page, GET + " |").endswith("| 3.00 | 30.00 |")
    assert "create 1 KiB, 64 connections" not in page


def test_what_is_written_by_hand_survives_a_new_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "plot", lambda figures, folder: None)
    page = tmp_path / "performance.md"
    report.write({}, [rate("blobkeep", 1)], tmp_path)
    page.write_text(page.read_text() + "\n## Notes\n\nKept.\n")
    report.write({}, [rate("blobkeep", 200)], tmp_path)
    text = page.read_text()
    assert text.endswith("## Notes\n\nKept.\n")
    assert text.count(report.BY_HAND) == 1
    assert "200/s" in text
