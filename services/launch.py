"""Runs the whole system: checks that it can start, prints what runs where, then becomes supervisord.

For `blobkeep serve`, `make run` and `python -m services.launch`. If something is wrong it says so in a line
or two, and does not start supervisord. It runs in the folder in which it is called, installed or not.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from common import config, durable, logs
from common.errors import BlobkeepError
from common.version import VERSION
from services.start_checks import InTheWay, wait_until_free
from services.supervisord_conf import run_folder, write_conf

_CODE = Path(__file__).resolve().parent.parent


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

    Returns in a new process; this one waits for it, and then ends the store. Raises InTheWay.
    """
    try:
        from services.engines.objects import development

        folder = _CODE / "data" / "object-store"
        for path in (folder.parent, folder):
            durable.make_folder_durably(str(path))
        ports, pid = development.start(str(folder))
        development.stay_with(pid)
    except (OSError, RuntimeError) as err:
        raise InTheWay(f"the object store cannot be started: {err}") from err
    os.environ |= development.environment({})
    os.environ["BLOBKEEP_ENGINE"] = "objects"
    os.environ["BLOBKEEP_OBJECTS_ENDPOINT"] = ports.endpoint
    os.environ["BLOBKEEP_OBJECTS_BUCKET"] = development.BUCKET
    folder_of_reports = os.environ.setdefault("BLOBKEEP_DIR", str(_CODE / "data" / "objects"))
    conf = f"{folder}.toml"
    listen = os.environ.get("BLOBKEEP_LISTEN", config.Config().listen)
    try:
        development.write_configuration(conf, ports, {"dir": folder_of_reports, "listen": listen})
    except OSError as err:
        raise InTheWay(f"{conf} cannot be written: {err.strerror}.") from err
    _say(f"SeaweedFS (process {pid}) keeps objects in {folder}, for S3 on {ports.endpoint}: for development.")
    _say(f"Commands find it by a configuration: {_command()} -c {shlex.quote(os.path.relpath(conf))} ls")


def serve(options: config.Config) -> None:
    """Check, print, and become supervisord. Raises BlobkeepError for what prevents the start."""
    wait_until_free(options, _say)
    try:
        conf = write_conf(options)
    except OSError as err:
        raise InTheWay(f"{run_folder(options)} cannot be written: {err.strerror}.") from err
    _say(welcome(options) if options.log_format == "text" else _welcome_json(options))
    # Neither supervisord nor what it runs may take a module from the folder that this is called in.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_CODE), os.environ.get("PYTHONPATH"))))
    os.execv(sys.executable, [sys.executable, "-P", "-m", "supervisor.supervisord", "-n", "-c", str(conf)])


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
