"""Logging: one line for each event, to stderr: time, level, process, what. No value can forge a line.

The text names the blob and how long it took; in JSON they are also separate fields (`about`). Control
characters are escaped, so an event is one line and moves no cursor.

A client must not be able to fill the log, and a reader of the log must not be able to stop the process:
- A thread writes the lines, of which 4 MiB may wait. Dropped lines are counted and reported (`LineWriter`).
- A warning or error that repeats, word for word, is written once in ten seconds, and counted in between.
- Of lines that differ only in their values, 100 are written in ten seconds, and the others are counted. Lines
  about a blob (`about`) are all written, and so are those for debugging, which somebody asked for.
- A text is cut after 16,384 characters.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TypeVar

from common.line_writer import LineWriter, to_descriptor

REPEAT_WINDOW_S = 10.0
MAX_ALIKE = 100  # lines within the window that differ in their values alone
MAX_CHARS = 16 << 10  # of a text
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
    sys.unraisablehook = _log_unraisable


class Stream(Protocol):
    """What log lines are written to."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...


def divert(stream: Stream) -> None:
    """Write to `stream` from now on: above a progress bar, or to stderr again."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.divert(stream)


def about(
    blob_id: int | str | None = None, location: str | None = None, seconds: float | None = None
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
        return f"{line_time(record.created)} {record.levelname} {self._process}: {one_line(_cut(text))}"


class JsonFormatter(LineFormatter):
    """The same as one JSON object a line, in ASCII: time, level, process, message, and what `about` gave."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        entry: dict[str, object] = {
            "time": line_time(record.created),
            "level": record.levelname,
            "process": self._process,
            "message": _cut(record.getMessage()),
        }
        for name in _ABOUT:
            if (value := getattr(record, name, None)) is not None:
                entry[name] = value
        if record.exc_info:
            entry["traceback"] = _cut(self.formatException(record.exc_info))
        return json.dumps(entry)


def one_line(text: str) -> str:
    """`text` with everything escaped that is not printable: line ends of every kind, terminal commands."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Handler(logging.Handler):
    """Writes to stderr. What comes too often in the window is counted instead, and reported at its end."""

    def __init__(self) -> None:
        super().__init__()
        self._writer = LineWriter(_to(sys.stderr), self._dropped_line)
        # Both oldest first. By level, text and error; by logger, level and the text without its values.
        self._repeats: dict[tuple[int, str, str], _Counted] = {}
        self._alike: dict[tuple[str, int, object], _Counted] = {}

    def divert(self, stream: Stream) -> None:
        """Write to `stream` from now on."""
        self._writer.flush()
        self._writer.write = _to(stream)

    def emit(self, record: logging.LogRecord) -> None:
        """Called with the handler's lock held, from any thread."""
        try:
            self._tell_ended(record.created - REPEAT_WINDOW_S)
            if record.levelno > logging.DEBUG and (self._is_repeated(record) or self._is_too_much(record)):
                return
            self._put(record)
        except Exception as err:  # noqa: BLE001 - a line that cannot be made must not stop who logs it
            self._put(_again(record, f"a line cannot be written: {record.msg!r}: {err!r}"))

    def flush(self) -> None:
        """Wait until what was logged is written, but not for long."""
        self._writer.flush()

    def close(self) -> None:
        """At exit: report what was not reported yet."""
        self._tell_ended(float("inf"))
        self._writer.close()
        super().close()

    def _put(self, record: logging.LogRecord) -> None:
        self._writer.put(f"{self.format(record)}\n".encode("utf-8", "backslashreplace"))

    def _is_repeated(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return False
        error = repr(record.exc_info[1]) if record.exc_info else ""
        counted = _remember(self._repeats, (record.levelno, record.getMessage(), error), record, self._tell)
        return counted.seen > 1

    def _is_too_much(self, record: logging.LogRecord) -> bool:
        if getattr(record, "blob", None) is not None:
            return False
        key = (record.name, record.levelno, record.msg if isinstance(record.msg, str) else "")
        counted = _remember(self._alike, key, record, self._tell_alike)
        return counted.seen > MAX_ALIKE

    def _tell_ended(self, before_s: float) -> None:
        _forget(self._repeats, before_s, self._tell)
        _forget(self._alike, before_s, self._tell_alike)

    def _tell(self, counted: _Counted) -> None:
        if counted.seen > 1:
            first = counted.first
            self._put(_again(first, f"{first.getMessage()} - repeated {counted.seen - 1} times"))

    def _tell_alike(self, counted: _Counted) -> None:
        if counted.seen > MAX_ALIKE:
            text = f"{counted.seen - MAX_ALIKE} more lines like this one: {counted.first.getMessage()}"
            self._put(_again(counted.first, text))

    def _dropped_line(self, count: int, error: str) -> bytes:
        why = error or "the log is read too slowly"
        text = f"{count} lines of the log were dropped: {why}"
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)
        return f"{self.format(record)}\n".encode()


class _Counted:
    """What came within one window: the first of its kind, and how many."""

    __slots__ = ("first", "seen")

    def __init__(self, first: logging.LogRecord) -> None:
        self.first = first
        self.seen = 0


_Key = TypeVar("_Key")
_Tell = Callable[[_Counted], None]


def _remember(known: dict[_Key, _Counted], key: _Key, record: logging.LogRecord, tell: _Tell) -> _Counted:
    """Count `record` among those with the same key. If there are too many, reports and forgets the oldest."""
    counted = known.get(key)
    if counted is None:
        counted = known[key] = _Counted(record)
        if len(known) > _MAX_REMEMBERED:
            tell(known.pop(next(iter(known))))
    counted.seen += 1
    return counted


def _forget(known: dict[_Key, _Counted], before_s: float, tell: _Tell) -> None:
    """Report and forget those whose window began before that time."""
    while known:
        key, counted = next(iter(known.items()))
        if counted.first.created > before_s:
            return
        del known[key]
        tell(counted)


def _again(record: logging.LogRecord, text: str) -> logging.LogRecord:
    """A new record with another text, on the same subject."""
    made = logging.LogRecord(record.name, record.levelno, record.pathname, record.lineno, text, None, None)
    made.__dict__.update({name: getattr(record, name, None) for name in _ABOUT})
    return made


def _to(stream: Stream) -> Callable[[bytes], None]:
    """Writes bytes to `stream`, past its buffer and lock where it is a file: other threads use those, too."""
    try:
        return to_descriptor(stream.fileno())  # type: ignore[attr-defined]
    except (AttributeError, OSError):  # a progress bar, or a text in memory

        def write(data: bytes) -> None:
            stream.write(data.decode("utf-8", "replace"))
            stream.flush()

        return write


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]} ... ({len(text)} characters)"


def line_time(at_s: float) -> str:
    """A time (Unix time in seconds) as in a log line: UTC, to the millisecond."""
    whole_s, ms = divmod(int(at_s * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole_s)) + f".{ms:03d}Z"


def _log_uncaught(kind: type[BaseException], err: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, err, trace)
        return
    logging.getLogger().critical("uncaught %s", kind.__name__, exc_info=(kind, err, trace))


def _log_uncaught_in_thread(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None:
        _log_uncaught(hook.exc_type, hook.exc_value, hook.exc_traceback)


def _log_unraisable(hook: sys.UnraisableHookArgs) -> None:
    """An exception that nobody can catch, as in a destructor. Python itself would write it to stderr."""
    what = hook.err_msg or "exception ignored"
    err = hook.exc_value
    trace = (hook.exc_type, err, hook.exc_traceback) if err is not None else None
    logging.getLogger().error("%s in %r", what, hook.object, exc_info=trace)
