"""The progress of long work: a bar on a terminal, else a log line now and then.

    with Progress("recovery", "folders") as progress:
        reconcile(data_dir, progress=progress)

Short work shows nothing. The caller says with its own line that the work is done.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from common import logs

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

log = logging.getLogger(__name__)

LINE_EVERY_S = 5.0
# Shorter work is not worth a bar, or the time to load the library that draws it.
_BAR_AFTER_S = 0.5


class Progress:
    """Called with (done, all) as often as one likes, by one thread at a time. `all` may be 0: not known.

    `what` is what goes on ("recovery"), `unit` what is counted ("folders"; "bytes" are written as sizes).
    `bar`: False for work in the background, which gets log lines on a terminal, too.
    """

    def __init__(self, what: str, unit: str, *, every_s: float = LINE_EVERY_S, bar: bool = True) -> None:
        self._what = what
        self._unit = unit
        self._every_s = every_s
        self._draws = bar and on_terminal()
        self._began = time.monotonic()
        self._next_at = self._began + (_BAR_AFTER_S if self._draws else every_s)
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int) -> None:
        """Say how far it is, if it is time to."""
        now = time.monotonic()
        if now < self._next_at:
            return
        if self._draws:
            self._draw(done, total)
        else:
            self._next_at = now + self._every_s
            log.info("%s", self.line(done, total, now - self._began))

    def line(self, done: int, total: int, seconds: float) -> str:
        """`recovery: 12,000 of 65,536 folders (18 %) after 5 s, about 22 s left`."""
        text = f"{self._what}: {self._amount(done)}"
        if total:
            text += f" of {self._amount(total)} {self._unit} ({100 * done // total} %)"
        else:
            text += f" {self._unit}"
        text += f" after {seconds:.0f} s"
        if 0 < done < total:
            text += f", about {seconds * (total - done) / done:.0f} s left"
        return text

    def _amount(self, number: int) -> str:
        return f"{number / 1e6:,.1f} million" if self._unit == "bytes" else f"{number:,}"

    def _draw(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = _make_bar(self._unit)
            self._task = self._bar.add_task(self._what, total=total or None)
            logs.divert(_Above(self._bar.console))
            self._bar.start()
        assert self._task is not None
        self._bar.update(self._task, completed=done, total=total or None)
        self._next_at = time.monotonic() + 0.05

    def close(self) -> None:
        """Take the bar away. Idempotent."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.stop()
            logs.divert(sys.stderr)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def nothing(done: int, total: int) -> None:
    """Progress that nobody wants to see."""


def on_terminal() -> bool:
    """True where stderr is a terminal that can draw."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


class _Above:
    """Where log lines go while a bar is drawn: above it."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> int:
        """Write whole lines."""
        self._console.print(text, end="", markup=False, highlight=False, emoji=False, soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""


def _make_bar(unit: str) -> Bar:
    from rich import progress
    from rich.console import Console

    amount: progress.ProgressColumn
    if unit == "bytes":
        amount = progress.DownloadColumn()
    else:
        amount = progress.TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + unit)
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        amount,
        progress.TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
