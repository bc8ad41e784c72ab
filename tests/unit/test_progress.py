"""Progress: a bar on a terminal, a line now and then elsewhere, and nothing for short work."""

from __future__ import annotations

import logging
import re
import subprocess
import sys

import pytest

from common.progress import Progress
from tests.support.environment import ROOT
from tests.support.terminal import run_on_terminal

LONG_WORK = """if True:
    import logging, sys, time
    from common import logs, progress
    logs.setup("recovery", debug=False, log_format="text")
    progress._BAR_AFTER_S = 0.0
    with progress.Progress("recovery", "folders", every_s=0.0) as told:
        for done in range(40):
            told(done, 40)
            if done == 20:
                logging.getLogger().warning("blob 7: something happened")
            time.sleep(0.01)
    logging.getLogger().info("done")
"""


def test_elsewhere_than_on_a_terminal_it_is_log_lines() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LONG_WORK], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    lines = done.stderr.splitlines()
    assert "INFO recovery: recovery: 10 of 40 folders (25 %) after 0 s" in done.stderr
    assert all(line[:2] == "20" for line in lines), "each line is one of the log's"
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr


def test_on_a_terminal_it_is_a_bar_and_log_lines_stand_above_it() -> None:
    status, shown = run_on_terminal([sys.executable, "-c", LONG_WORK])
    assert status == 0
    assert "of 40 folders" in shown
    assert "━" in shown
    # The warning has a line of its own, without a part of the bar before or after it.
    warning = next(line for line in shown.split("\n") if "blob 7" in line)
    since_erased = warning.rpartition("\x1b[2K")[2]
    written = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", since_erased)
    assert re.fullmatch(r"20[-0-9]+T[.:0-9]+Z WARNING recovery: blob 7: something happened", written)
    assert "INFO recovery: done" in shown.split("\n")[-2]


def test_a_dumb_terminal_gets_no_bar() -> None:
    _, shown = run_on_terminal([sys.executable, "-c", LONG_WORK], {"TERM": "dumb"})
    assert "━" not in shown
    assert "10 of 40 folders (25 %)" in shown


def test_lines_come_no_faster_than_asked(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("common.progress.time.monotonic", lambda: now)
    caplog.set_level(logging.INFO)
    told = Progress("re-reading", "blobs", every_s=5.0, bar=False)
    for _ in range(31):
        told(int(now) - 100, 100)
        now += 0.5
    assert [record.getMessage() for record in caplog.records] == [
        "re-reading: 5 of 100 blobs (5 %) after 5 s, about 95 s left",
        "re-reading: 10 of 100 blobs (10 %) after 10 s, about 90 s left",
        "re-reading: 15 of 100 blobs (15 %) after 15 s, about 85 s left",
    ]


@pytest.mark.parametrize(
    ("unit", "done", "total", "line"),
    [
        ("blobs", 0, 0, "x: 0 blobs after 3 s"),
        ("blobs", 12000, 65536, "x: 12,000 of 65,536 blobs (18 %) after 3 s, about 13 s left"),
        ("bytes", 5_000_000, 0, "x: 5.0 million bytes after 3 s"),
        ("blobs", 7, 7, "x: 7 of 7 blobs (100 %) after 3 s"),
    ],
)
def test_the_line(unit: str, done: int, total: int, line: str) -> None:
    assert Progress("x", unit, bar=False).line(done, total, 3.0) == line
