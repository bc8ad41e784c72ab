"""The configuration of supervisord, made at each start from the one that is shipped, supervisord.conf.

It is in the data directory, in `.run/`, with the control socket and the pid file. Where the path is too long
for a unix socket, the socket is in a folder of ours elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shlex
import socket
import stat
import sys
from pathlib import Path

from common import config, durable
from services.engines.local.disk import directory, layout

SOCKET_NAME = "supervisor.sock"
_SHIPPED_CONF = Path(__file__).with_name("supervisord.conf")
_CONF_NAME = "supervisord.conf"
_LONGEST_SOCKET_PATH = 107 - len(".4194304")  # the kernel's, less what supervisord appends for a moment


def run_folder(options: config.Config) -> Path:
    """Where the files of a start are: in the data directory."""
    return Path(os.path.abspath(options.dir)) / layout.RUN_NAME


def conf_of(options: config.Config) -> Path:
    """The configuration of the supervisord that runs, or last ran, on the data directory."""
    return run_folder(options) / _CONF_NAME


def write_conf(options: config.Config) -> Path:
    """Make the configuration of supervisord, for this folder and data directory. Raises OSError."""
    run = run_folder(options)
    directory.make_root(options.dir)
    with contextlib.suppress(FileExistsError):
        durable.make_folder(str(run))
    sockets = run if _takes_sockets(run) else _private_folder(run)
    control = _escaped(sockets / SOCKET_NAME)
    # The password is not for secrecy, since only we can use the socket: without one supervisord logs
    # CRITICAL.
    password = f"username=blobkeep\npassword={secrets.token_hex(16)}"
    text = _SHIPPED_CONF.read_text(encoding="utf-8")
    for found, written in (
        (f"file=%(here)s/run/{SOCKET_NAME}", f"file={control}\n{password}"),
        (f"unix://%(here)s/run/{SOCKET_NAME}", f"unix://{control}\n{password}"),
        ("unix://%(here)s/run", f"unix://{_escaped(sockets)}"),
        ("%(here)s/run", _escaped(run)),
        ("directory=%(here)s", f"directory={_escaped(Path.cwd())}"),
        ("command=python3 -m", f"command={_escaped(shlex.quote(sys.executable))} -P -m"),
    ):
        text = text.replace(found, written)
    if os.geteuid() == 0:
        text = text.replace("[supervisord]\n", "[supervisord]\nuser=root\n")
    durable.replace(str(run / _CONF_NAME), text.encode(), synced=False)
    return run / _CONF_NAME


def _takes_sockets(folder: Path) -> bool:
    """False where the path is too long for a unix socket, or the file system has none."""
    path = folder / f"probe-{os.getpid()}"
    if len(os.fsencode(folder / SOCKET_NAME)) > _LONGEST_SOCKET_PATH:
        return False
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(path))
        durable.remove_file(str(path))
    except OSError:
        return False
    return True


def _private_folder(run: Path) -> Path:
    """A folder of ours alone, where sockets can be made: the same one for each start on this directory.

    Anybody may write in /tmp. So one of this name that is not ours alone is not used, but a new one.
    """
    root = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")
    path = root / f"blobkeep-{hashlib.sha256(os.fsencode(run)).hexdigest()[:16]}"
    with contextlib.suppress(FileExistsError):
        durable.make_folder(str(path))
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return path
    path = root / f"blobkeep-{secrets.token_hex(8)}"
    durable.make_folder(str(path))
    return path


def _escaped(text: Path | str) -> str:
    return str(text).replace("%", "%%")
