"""supervisord's log lines in our format: `2026-11-24T08:00:00.123Z INFO supervisord: message`, or JSON."""

from __future__ import annotations

import json
import time
from typing import Any

from supervisor import loggers

from common import logs

_LEVELS = {"CRIT": "CRITICAL", "ERRO": "ERROR", "WARN": "WARNING", "DEBG": "DEBUG"}
# These lines are not critical, though supervisord says so: root may run it, and only its owner has its
# socket.
_NO_FAILURES = ("Supervisor is running as root", "Server 'unix_http_server' running without any HTTP auth")


def adopt(log_format: str) -> None:
    """From now on the supervisord of this process writes such lines. `log_format`: "text" or "json"."""
    made = _json_parts if log_format == "json" else _text_parts

    def asdict(record: Any) -> dict[str, str]:
        """In place of LogRecord.asdict: what its format, `asctime levelname message`, is filled with."""
        if record.dictrepr is None:
            message = str(record.msg) % record.kw if record.kw else str(record.msg)
            level = loggers.LOG_LEVELS_BY_NUM[record.level]
            level = "INFO" if message.startswith(_NO_FAILURES) else _LEVELS.get(level, level)
            parts = made(logs.line_time(time.time()), level, message)
            record.dictrepr = dict(zip(("asctime", "levelname", "message"), parts, strict=True))
        found: dict[str, str] = record.dictrepr
        return found

    loggers.LogRecord.asdict = asdict


def _text_parts(at: str, level: str, message: str) -> tuple[str, str, str]:
    return at, level, f"supervisord: {logs.one_line(message)}"


def _json_parts(at: str, level: str, message: str) -> tuple[str, str, str]:
    """The three with spaces between are what JsonFormatter makes."""
    return (
        f'{{"time": {json.dumps(at)},',
        f'"level": {json.dumps(level)},',
        f'"process": "supervisord", "message": {json.dumps(message)}}}',
    )
