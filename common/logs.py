"""Logging: one line an event, to stderr: time, level, process, what. No line can be forged by a value.

Which blob, and how long it took, is part of the text; where the line is JSON it has fields of its own, too
(`about`). Control characters in whatever is logged are escaped, so an event is one line and moves no cursor.
A warning or error that repeats, word for word, is written once in ten seconds, and counted in between.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from types import TracebackType
from typing import Protocol

REPEAT_WINDOW_S = 10.0
_ABOUT = ("blob", "location", "seconds")  # what `about` gives
_MAX_REMEMBERED = 1000  # different texts within one window; beyond that, the oldest are forgotten


def setup(process: str, *, debug: bool, log_format: str) -> None:
    """Send everything that is logged in this process, uncaught exceptions included, to stderr.

    `process`: "server", "gc" or "recovery". `log_format`: "text" or "json".
    """
    handler = _Handler()
    handler.setFormatter(JsonFormatter(process) if log_format == "json" else LineFormatter(process))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)  # the server has an access log of its own
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


class Stream(Protocol):
    """What log lines are written to."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...


def divert(stream: Stream) -> None:
    """Write to `stream` from now on: above a progress bar, or to stderr again."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.setStream(stream)


def about(
    blob_id: int | None = None, location: str | None = None, seconds: float | None = None
) -> dict[str, object]:
    """For `extra=`: which blob the line is about, and how long it took. Fields of these names in JSON."""
    return {"blob": blob_id, "location": location, "seconds": seconds}


class LineFormatter(logging.Formatter):
    """`2026-11-24T08:00:00.123Z INFO server: message`; a traceback follows, escaped, on the same line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return f"{_time(record)} {record.levelname} {self._process}: {one_line(text)}"


class JsonFormatter(LineFormatter):
    """The same as one JSON object a line, in ASCII: time, level, process, message, and what `about` gave."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "process": self._process,
            "message": record.getMessage(),
        }
        for name in _ABOUT:
            if (value := getattr(record, name, None)) is not None:
                entry[name] = value
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def one_line(text: str) -> str:
    """`text` with everything escaped that is not printable: line ends of every kind, terminal commands."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr; what repeats within the window is counted instead, and told when that ends."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self._seen: dict[tuple[int, str, str], _Repeat] = {}  # by level, text and error; oldest first

    def emit(self, record: logging.LogRecord) -> None:
        """Called with the handler's lock held, from any thread."""
        self._tell_ended(record.created - REPEAT_WINDOW_S)
        if record.levelno >= logging.WARNING:
            error = repr(record.exc_info[1]) if record.exc_info else ""
            key = (record.levelno, record.getMessage(), error)
            repeat = self._seen.get(key)
            if repeat is not None:
                repeat.count += 1
                return
            self._seen[key] = _Repeat(record)
            if len(self._seen) > _MAX_REMEMBERED:
                self._tell(self._seen.pop(next(iter(self._seen))))
        super().emit(record)

    def close(self) -> None:
        """At exit: tell what is still untold."""
        self._tell_ended(float("inf"))
        super().close()

    def _tell_ended(self, before_s: float) -> None:
        while self._seen:
            key, repeat = next(iter(self._seen.items()))
            if repeat.first.created > before_s:
                return
            del self._seen[key]
            self._tell(repeat)

    def _tell(self, repeat: _Repeat) -> None:
        if repeat.count:
            first = repeat.first
            text = f"{first.getMessage()} - repeated {repeat.count} times"
            again = logging.LogRecord(
                first.name, first.levelno, first.pathname, first.lineno, text, None, None
            )
            again.__dict__.update({name: getattr(first, name, None) for name in _ABOUT})
            super().emit(again)


class _Repeat:
    """A text that was written, and how often it came again since."""

    __slots__ = ("count", "first")

    def __init__(self, first: logging.LogRecord) -> None:
        self.first = first
        self.count = 0


def _time(record: logging.LogRecord) -> str:
    """UTC, to the millisecond."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _log_uncaught(kind: type[BaseException], err: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, err, trace)
        return
    logging.getLogger().critical("uncaught %s", kind.__name__, exc_info=(kind, err, trace))


def _log_uncaught_in_thread(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None:
        _log_uncaught(hook.exc_type, hook.exc_value, hook.exc_traceback)
