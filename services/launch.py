"""Runs the whole system: checks that it can start, prints what runs where, then becomes supervisord.

For `blobkeep serve`, `make run` and `python -m services.launch`. If something is wrong it says so in a line
or two, and does not start supervisord. It runs in the folder in which it is called, installed or not:
supervisord.conf is shipped beside this module. The files of a start (a configuration made from it, the
control socket, the pid file) are in the data directory, in `.run/`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shlex
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from common import config, durable, logs
from common.errors import BlobkeepError, LockHeld
from common.process import UNDER_SUPERVISOR
from common.version import VERSION
from services import supervision
from services.engines.local.disk import directory, layout
from services.engines.local.disk.locks import StateLock

_CODE = Path(__file__).resolve().parent.parent
_SHIPPED_CONF = Path(__file__).with_name("supervisord.conf")
_CONF_NAME = "supervisord.conf"
_SOCKET_NAME = "supervisor.sock"
# The processes of a killed supervisord end by themselves: they drain, then free the directory and the port.
PATIENCE_S = 20.0
_LONGEST_SOCKET_PATH = 107 - len(".4194304")  # the kernel's, less what supervisord appends for a moment


class InTheWay(BlobkeepError):
    """Why Blobkeep cannot start. `in_use`: by another process; `passing`: it will be over in seconds."""

    def __init__(self, text: str, *, in_use: bool = False, passing: bool = False) -> None:
        super().__init__(text)
        self.in_use = in_use
        self.passing = passing


def main() -> None:
    """Serve as the configuration says; exits with status 2 if that is not possible."""
    try:
        if sys.argv[1:] == ["objects"]:
            start_object_store()
        serve(config.load([], "server"))
    except BlobkeepError as err:
        _say(f"Blobkeep cannot start: {err}")
        sys.exit(config.EXIT_USAGE)


def start_object_store() -> None:
    """Start an object store for development, and select it in the environment.

    Raises InTheWay.
    """
    try:
        from services.engines.objects import development

        folder = _CODE / "data" / "object-store"
        for path in (folder.parent, folder):
            durable.make_folder_durably(str(path))
        ports, pid = development.start(str(folder))
    except (OSError, RuntimeError) as err:
        raise InTheWay(f"the object store cannot be started: {err}") from err
    os.environ |= development.environment({})
    os.environ["BLOBKEEP_ENGINE"] = "objects"
    os.environ["BLOBKEEP_OBJECTS_ENDPOINT"] = ports.endpoint
    os.environ["BLOBKEEP_OBJECTS_BUCKET"] = development.BUCKET
    os.environ.setdefault("BLOBKEEP_DIR", str(_CODE / "data" / "objects"))
    _say(f"SeaweedFS (process {pid}) keeps objects in {folder}, for S3 on {ports.endpoint}: for development.")


def serve(options: config.Config) -> None:
    """Check, print, and become supervisord. Raises BlobkeepError for what prevents the start."""
    wait_until_free(options)
    try:
        conf = write_conf(options)
    except OSError as err:
        raise InTheWay(f"{options.dir}/{layout.RUN_NAME} cannot be written: {err.strerror}.") from err
    _say(welcome(options) if options.log_format == "text" else _welcome_json(options))
    # Neither supervisord nor what it runs may take a module from the folder that this is called in.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_CODE), os.environ.get("PYTHONPATH"))))
    os.execv(sys.executable, [sys.executable, "-P", "-m", "supervisor.supervisord", "-n", "-c", str(conf)])


def conf_of(options: config.Config) -> Path:
    """The configuration of the supervisord that runs, or last ran, on the data directory."""
    return _run_folder(options) / _CONF_NAME


def write_conf(options: config.Config) -> Path:
    """Make the configuration of supervisord, for this folder and data directory. Raises OSError."""
    run = _run_folder(options)
    directory.make_root(options.dir)
    with contextlib.suppress(FileExistsError):
        durable.make_folder(str(run))
    sockets = run if _takes_sockets(run) else _private_folder(run)
    control = _escaped(sockets / _SOCKET_NAME)
    # The password is not for secrecy, since only we can use the socket: without one supervisord logs
    # CRITICAL.
    password = f"username=blobkeep\npassword={secrets.token_hex(16)}"
    text = _SHIPPED_CONF.read_text(encoding="utf-8")
    for found, written in (
        (f"file=%(here)s/run/{_SOCKET_NAME}", f"file={control}\n{password}"),
        (f"unix://%(here)s/run/{_SOCKET_NAME}", f"unix://{control}\n{password}"),
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


def _run_folder(options: config.Config) -> Path:
    return Path(os.path.abspath(options.dir)) / layout.RUN_NAME


def _takes_sockets(folder: Path) -> bool:
    """False where the path is too long for a unix socket, or the file system has none."""
    path = folder / f"probe-{os.getpid()}"
    if len(os.fsencode(folder / _SOCKET_NAME)) > _LONGEST_SOCKET_PATH:
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


def wait_until_free(options: config.Config) -> None:
    """Wait until nothing prevents the start. Raises InTheWay for what will stay; ConfigError."""
    deadline = time.monotonic() + PATIENCE_S
    told = False
    while True:
        try:
            check(options)
        except InTheWay as err:
            if not err.passing or time.monotonic() >= deadline:
                raise
            if not told:
                _say(f"Waiting: {err}")
                told = True
            time.sleep(0.1)
        else:
            return


def check(options: config.Config) -> None:
    """Raise InTheWay for the first thing that prevents the start; ConfigError if there must be a store and is
    none."""
    _check_control_socket(_run_folder(options) / _SOCKET_NAME)
    if options.engine == "local":
        if not options.create:
            directory.existing(options.dir)
        _check_directory(options.dir)
    _check_port(options.listen)


def _check_control_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        pid = "unknown"
        with contextlib.suppress(OSError):
            pid = (path.parent / "supervisord.pid").read_text().strip()
        raise InTheWay(
            f"it already runs on this directory (supervisord is process {pid}): stop that one first.",
            in_use=True,
        )


def _check_directory(root: str) -> None:
    path = os.path.abspath(root)
    try:
        directory.make_root(path)
        with StateLock(path, "serve", says=False) as lock:
            lock.acquire(1.0)  # a recovery worker may have it for a moment
    except LockHeld as err:
        pid = lock.holder().split()[0]
        raise InTheWay(str(err), in_use=True, passing=pid.isdecimal() and is_ending(int(pid))) from err
    except OSError as err:
        raise InTheWay(f"the data directory {path} cannot be used: {err.strerror}.") from err


def _check_port(listen: str) -> None:
    host, port = config.host_and_port(listen)
    try:
        supervision.bind(host, port).close()
    except OSError as err:
        if err.errno == errno.EADDRINUSE:
            pids = sorted(pids_listening_on(port))
            users = " and ".join(map(describe_process, pids)) or "a process that we are not allowed to see"
            raise InTheWay(
                f"{listen} is in use by {users}: stop that, "
                "or choose another address (blobkeep serve --listen 127.0.0.1:8080, or "
                "make run BLOBKEEP_LISTEN=127.0.0.1:8080).",
                in_use=True,
                passing=bool(pids) and all(map(is_ending, pids)),
            ) from err
        raise InTheWay(f"it cannot listen on {listen}: {err.strerror}.") from err


def pids_listening_on(port: int) -> set[int]:
    """The processes that listen on a TCP port, as far as we are allowed to see them."""
    with contextlib.suppress(psutil.Error):
        return {
            found.pid
            for found in psutil.net_connections("tcp")
            if found.status == psutil.CONN_LISTEN and found.laddr.port == port and found.pid
        }
    return set()


def describe_process(pid: int) -> str:
    """`process 123 (nginx: nginx -g ...)`."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return f"process {pid} ({process.name()}: {' '.join(process.cmdline())[:80]})"
    return f"process {pid}"


def is_ending(pid: int) -> bool:
    """True for a process of a Blobkeep whose supervisord is gone: the kernel has told it to stop."""
    try:
        process = psutil.Process(pid)
        orphan = UNDER_SUPERVISOR in process.environ() and not any(map(_is_supervisord, process.parents()))
        return orphan and any(word.startswith("services.") for word in process.cmdline())
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def _is_supervisord(process: psutil.Process) -> bool:
    return any("supervisord" in word for word in process.cmdline())


def welcome(options: config.Config) -> str:
    """What runs where, and which curl to try."""
    return "\n".join(_welcome_lines(options))


def _welcome_lines(options: config.Config) -> Iterator[str]:
    server = config.url(*config.host_and_port(options.listen), secure=bool(options.tls_cert))
    yield (
        f"Blobkeep {VERSION} listens on {options.listen} and keeps its blobs in "
        f"{_where(options)}. Its page: {server}/"
    )
    count = config.reader_count(options, is_supervised=True)
    readers = f", {count} reader{'s' * (count > 1)}" if count else ""
    yield f"supervisord runs server{readers}, gc and recovery here, until Ctrl-C. In another terminal:"
    who = " --user NAME" if options.auth_file else ""  # curl asks for the password: a token, or what it is
    yield f"  curl{who} --request POST {server}/store/foo --data 11111111111111111"
    yield f"  curl{who} {server}/store/foo"
    where = "" if options.dir == config.Config().dir else f" --dir {shlex.quote(options.dir)}"
    yield f"  {_command()}{where} ctl status"


def _welcome_json(options: config.Config) -> str:
    """The first of these lines, for JSON: the rest is for people."""
    at, text = logs.line_time(time.time()), next(_welcome_lines(options))
    return json.dumps({"time": at, "level": "INFO", "process": "serve", "message": text})


def _where(options: config.Config) -> str:
    if options.engine == "objects":
        return f"the bucket {options.objects_bucket} of {options.objects_endpoint or 'AWS'}"
    return os.path.abspath(options.dir)


def _command() -> str:
    """The command with which a person calls this program here."""
    ours = os.path.join(sys.prefix, "bin", "blobkeep")
    folders = os.environ.get("PATH", "").split(os.pathsep)
    # pipx, and the Debian package, put a link on the path.
    on_path = any(os.path.realpath(f"{folder}/blobkeep") == os.path.realpath(ours) for folder in folders)
    return "blobkeep" if on_path else os.path.relpath(ours)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
