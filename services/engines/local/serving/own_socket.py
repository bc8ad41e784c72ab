"""Unix sockets of the server in its data directory. Only the owner of its files can connect (mode 0600)."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

from tornado.netutil import bind_unix_socket

from common import durable


def listen(path: str) -> socket.socket:
    """Listen at `path`; a stale socket there is replaced, since we hold the lock.

    Raises OSError, also where the directory cannot hold a socket (SMB, exFAT, a virtual machine's folders).
    """
    with contextlib.suppress(FileNotFoundError):
        durable.remove_file(path)
    with _short(path) as short:
        return bind_unix_socket(short, mode=0o600)


def connect(path: str) -> socket.socket:
    """A connection to the process that listens at `path`. Raises OSError if none does."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        with _short(path) as short:
            sock.connect(short)
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def _short(path: str) -> Iterator[str]:
    """A socket's path holds 107 bytes, a data directory's may be longer: go by the folder's descriptor."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)
