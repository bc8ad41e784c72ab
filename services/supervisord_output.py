"""The stdout and stderr of supervisord and its programs, through a relay where a reader could hang."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import stat
import subprocess
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LAST_WORDS_S = 3.0  # more than the relay gives two readers that hang

_relay: subprocess.Popen[bytes] | None = None


def let_children_log(log_format: str) -> None:
    """Make supervisord's output work for all kinds of stdout and stderr, without waiting for a reader.

    supervisord opens /dev/stdout and /dev/stderr again for each program, and writes there itself. A pipe, a
    terminal and a socket (systemd's journal) get a relay. A file that is not open for appending would be
    overwritten from its beginning.
    """
    global _relay
    if _relay is not None:
        return
    pipes: dict[int, tuple[int, int]] = {}
    for descriptor in (1, 2):
        if _may_stall(descriptor):
            pipes[descriptor] = os.pipe()
        else:
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)
    if not pipes:
        return
    sources = {descriptor: reading for descriptor, (reading, _) in pipes.items()}
    _relay = subprocess.Popen(
        [
            *(sys.executable, "-S", "-m", "services.log_relay", log_format),
            *(f"{source}:{descriptor}" for descriptor, source in sources.items()),
        ],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        pass_fds=list(sources.values()),
        start_new_session=True,  # Ctrl-C is for supervisord, whose last words are still to come
    )
    for descriptor, (reading, writing) in pipes.items():
        os.dup2(writing, descriptor)
        os.close(reading)
        os.close(writing)
    atexit.register(_last_words, _relay)


def _may_stall(descriptor: int) -> bool:
    """Whether a write may wait for a reader, or supervisord cannot open it again."""
    try:
        os.close(os.open(f"/dev/fd/{descriptor}", os.O_WRONLY | os.O_APPEND | os.O_NOCTTY))
    except OSError:
        return True
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


def _last_words(relay: subprocess.Popen[bytes]) -> None:
    """At exit: wait a little until all is written. In a container nothing outlives its first process."""
    relay.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        relay.wait(_LAST_WORDS_S)
