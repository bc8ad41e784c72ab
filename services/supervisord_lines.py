"""supervisord's own log lines, as ours are: `2026-11-24T08:00:00.123Z INFO supervisord: message`."""

from __future__ import annotations

import time
from typing import Any

from supervisor import loggers

from common import logs

_LEVELS = {"CRIT": "CRITICAL", "ERRO": "ERROR", "WARN": "WARNING", "DEBG": "DEBUG"}
# It calls critical what is none: root may run it, and its control socket is for its owner alone.
_NO_FAILURES = ("Supervisor is running as root", "Server 'unix_http_server' running without any HTTP auth")


def adopt() -> None:
    """From now on the supervisord of this process writes such lines."""
    loggers.LogRecord.asdict = _as_ours


def _as_ours(record: Any) -> dict[str, str]:
    """In place of LogRecord.asdict: what its format, `asctime levelname message`, is filled with."""
    if record.dictrepr is None:
        message = str(record.msg) % record.kw if record.kw else str(record.msg)
        level = loggers.LOG_LEVELS_BY_NUM[record.level]
        record.dictrepr = {
            "asctime": logs.line_time(time.time()),
            "levelname": "INFO" if message.startswith(_NO_FAILURES) else _LEVELS.get(level, level),
            "message": f"supervisord: {logs.one_line(message)}",
        }
    found: dict[str, str] = record.dictrepr
    return found
