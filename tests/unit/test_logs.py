"""Logs have one line for each event, whatever it contains, in both formats. Repetitions are counted."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common import logs

ROOT = Path(__file__).resolve().parents[2]
Setup = Callable[..., io.StringIO]


class Written(io.StringIO):
    """What a thread writes. It can be read when all is written."""

    def getvalue(self) -> str:
        for handler in logging.getLogger().handlers:
            handler.flush()
        return super().getvalue()


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    """Sets logging up with a text file as stderr, and restores everything at the end."""
    root = logging.getLogger()
    before = root.handlers, root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook

    def make(*, debug: bool = False, log_format: str = "text") -> io.StringIO:
        stderr = Written()
        monkeypatch.setattr(sys, "stderr", stderr)
        logs.setup("gc", debug=debug, log_format=log_format)
        return stderr

    yield make
    logging.captureWarnings(False)
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = before
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


def test_a_line_has_time_level_process_and_message(set_up: Setup) -> None:
    stderr = set_up()
    logging.getLogger("anything").warning("blob %d of %r: gone", 7, "a/b")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING gc: blob 7 of 'a/b': gone\n", stderr.getvalue()
    )


def test_the_time_is_utc_with_milliseconds(set_up: Setup) -> None:
    stderr = set_up()
    record = logging.LogRecord("x", logging.INFO, "", 0, "m", None, None)
    record.created, record.msecs = 1_700_000_000.0719, 71.9
    logging.getLogger().handle(record)
    assert stderr.getvalue() == "2023-11-14T22:13:20.071Z INFO gc: m\n"


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    "evil", ["\n", "\r", "\x1b[2J", "\x00", "\x85", "\u2028", "\u2029", "\x9b", "\u202e"]
)
def test_no_value_makes_a_second_line_or_moves_the_cursor(set_up: Setup, evil: str, log_format: str) -> None:
    stderr = set_up(log_format=log_format)
    logging.getLogger("server").error("stored %s", f"a{evil}2026-01-01T00:00:00.000Z INFO server: forged")
    text = stderr.getvalue()
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    assert evil not in text[:-1]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_traceback_stays_on_its_line(set_up: Setup, log_format: str) -> None:
    stderr = set_up(log_format=log_format)
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("server").exception("it broke")
    text = stderr.getvalue()
    assert text.count("\n") == 1
    assert "Traceback" in text
    assert "ValueError: first\\nsecond" in text


def test_json_lines_parse_and_give_the_value_back(set_up: Setup) -> None:
    stderr = set_up(log_format="json")
    logging.getLogger("server").info("stored %s", "tick ✓\n\udc80")
    entry = json.loads(stderr.getvalue())
    assert entry.pop("time").endswith("Z")
    assert entry == {"level": "INFO", "process": "gc", "message": "stored tick ✓\n\udc80"}


@pytest.mark.parametrize(("debug", "lines"), [(False, 0), (True, 1)])
def test_debug_lines_come_with_debug_only(set_up: Setup, debug: bool, lines: int) -> None:
    stderr = set_up(debug=debug)
    logging.getLogger("server").debug("detail")
    assert stderr.getvalue().count("\n") == lines


def log_at(seconds: float, text: str, level: int = logging.ERROR) -> None:
    """Log `text` as if that many seconds had passed."""
    record = logging.LogRecord("server", level, "", 0, text, None, None)
    record.created = 1_700_000_000 + seconds
    logging.getLogger().handle(record)


def messages(stderr: io.StringIO) -> list[str]:
    """What was logged, without time, level and process."""
    return [line.split(": ", 1)[1] for line in stderr.getvalue().splitlines()]


def test_an_error_that_repeats_is_written_once_and_counted(set_up: Setup) -> None:
    stderr = set_up()
    for n in range(121):
        log_at(n / 100, "disk full")
    assert messages(stderr) == ["disk full"]
    log_at(logs.REPEAT_WINDOW_S + 2, "something else", logging.INFO)
    assert messages(stderr) == ["disk full", "disk full - repeated 120 times", "something else"]
    log_at(logs.REPEAT_WINDOW_S + 3, "disk full")
    assert messages(stderr)[3:] == ["disk full"]


def test_errors_that_differ_and_news_are_all_written(set_up: Setup) -> None:
    stderr = set_up()
    for n in range(50):
        log_at(n / 100, f"blob {n} damaged")
        log_at(n / 100, "gc pass", logging.INFO)
    assert len(messages(stderr)) == 100


def test_the_same_words_over_another_exception_are_written(set_up: Setup) -> None:
    stderr = set_up()
    for err in (ValueError("one"), ValueError("one"), ValueError("two")):
        logging.getLogger("gc").error("pass failed", exc_info=err)
    assert len(messages(stderr)) == 2


def test_what_is_remembered_is_bounded_and_no_count_is_lost(set_up: Setup) -> None:
    stderr = set_up()
    log_at(0, "first")
    log_at(0, "first")
    for n in range(1000):
        log_at(1, f"other {n}")
    assert messages(stderr).count("first - repeated 1 times") == 1


def test_the_count_is_told_at_exit() -> None:
    code = """if True:
        import logging
        from common import logs
        logs.setup("gc", debug=False, log_format="text")
        for _ in range(4):
            logging.getLogger("gc").error("no room")
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert [line.split(": ", 1)[1] for line in done.stderr.splitlines()] == [
        "no room",
        "no room - repeated 3 times",
    ]


def test_lines_that_differ_in_a_value_alone_are_bounded_and_counted(set_up: Setup) -> None:
    """A client could cause any number of lines, one for each of its malformed requests."""
    stderr = set_up()
    logger = logging.getLogger("http1")
    for n in range(logs.MAX_ALIKE + 1000):
        logger.info("malformed request from %s", f"10.0.{n // 256}.{n % 256}")
        logger.warning("slow request from %s", f"10.0.{n // 256}.{n % 256}")
    logger.info("another text")
    assert stderr.getvalue().count("malformed") == stderr.getvalue().count("slow") == logs.MAX_ALIKE
    log_at(4e9, "later", logging.INFO)
    assert {
        "1000 more lines like this one: malformed request from 10.0.0.0",
        "1000 more lines like this one: slow request from 10.0.0.0",
    } <= set(messages(stderr))


def test_each_line_about_a_blob_and_each_for_debugging_is_written(set_up: Setup) -> None:
    stderr = set_up(debug=True)
    for n in range(500):
        logging.getLogger("recovery").warning("blob %d: interrupted", n, extra=logs.about(n))
        logging.getLogger("server").debug("transition %d", n)
    assert stderr.getvalue().count("\n") == 1000


def test_a_text_is_cut_where_it_is_long(set_up: Setup) -> None:
    stderr = set_up()
    logging.getLogger("x").error("refused: %s", "y" * 1_000_000)
    assert len(stderr.getvalue()) < logs.MAX_CHARS + 200
    assert stderr.getvalue().endswith("y ... (1000009 characters)\n")


def test_a_line_that_cannot_be_made_is_told(set_up: Setup) -> None:
    stderr = set_up()
    logging.getLogger("x").error("%d of %d", "three")
    assert "a line cannot be written: '%d of %d': TypeError" in stderr.getvalue()


def test_an_exception_in_a_destructor_is_one_line(set_up: Setup) -> None:
    class Bad:
        def __del__(self) -> None:
            raise ValueError("in vain")

    stderr = set_up()
    Bad()
    assert stderr.getvalue().count("\n") == 1
    assert "ERROR gc: exception ignored in" in stderr.getvalue()
    assert "ValueError: in vain" in stderr.getvalue()


def test_warnings_of_python_are_logged(set_up: Setup) -> None:
    stderr = set_up()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)  # pytest and catch_warnings have installed their own: start again
        logging.captureWarnings(True)
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert stderr.getvalue().count("\n") == 1
    assert "old thing" in stderr.getvalue()


@pytest.mark.parametrize("data_dir", ["main", "thread"])
def test_an_uncaught_exception_is_one_line_too(data_dir: str) -> None:
    code = f"""if True:
        import threading
        from common import logs
        logs.setup("gc", debug=False, log_format="text")
        def boom(): raise RuntimeError("a\\nb")
        if {data_dir!r} == "main":
            boom()
        thread = threading.Thread(target=boom)
        thread.start()
        thread.join()
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == (1 if data_dir == "main" else 0)
    assert done.stderr.count("\n") == 1
    assert "CRITICAL gc: uncaught RuntimeError" in done.stderr
    assert "RuntimeError: a\\nb" in done.stderr


def test_in_json_the_blob_and_how_long_it_took_have_fields_of_their_own(set_up: Setup) -> None:
    stderr = set_up(log_format="json")
    log = logging.getLogger("gc")
    log.info("blob 7 of 'a\u2028b': removed", extra=logs.about(7, "a\u2028b", 0.25))
    log.info("blob 8: removed", extra=logs.about(8))
    log.info("nothing in particular")
    lines = [json.loads(line) for line in stderr.getvalue().splitlines()]
    assert (lines[0]["blob"], lines[0]["location"], lines[0]["seconds"]) == (7, "a\u2028b", 0.25)
    assert lines[1]["blob"] == 8
    assert not {"location", "seconds"} & lines[1].keys()
    assert not {"blob", "location", "seconds"} & lines[2].keys()
    assert stderr.getvalue().isascii()


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    "value",
    [
        "a\nb",
        "a\r\nb",
        "a\u2028b\u2029c",
        "\x1b[31mred",
        "\x9b31m",
        "\u202edesrever",
        "\u2066x\u2069",
        "\x85",
        "\u200b",
    ],
)
def test_nothing_that_a_client_chose_forges_a_line(set_up: Setup, log_format: str, value: str) -> None:
    stderr = set_up(log_format=log_format)
    forged = f"{value}2026-11-24T08:00:00.123Z INFO server: stopped"
    logging.getLogger("x").info("blob 1 of %s", forged, extra=logs.about(1, forged))
    logging.getLogger("x").info("blob 1 of %r", forged, extra=logs.about(1, forged))
    written = stderr.getvalue()
    assert written.count("\n") == 2
    assert all(line.isprintable() for line in written.removesuffix("\n").split("\n"))
