"""The command line of the tools: which command, on which directory, and what went wrong as one sentence."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence

from common import config, logs
from common.errors import BlobkeepError, Busy, ConfigError, LockHeld
from services.tools import (
    bench,
    checking,
    exits,
    exporting,
    importing,
    listing,
    quarantine,
    showing,
    usage,
)
from services.tools.exits import CommandFailed
from services.tools.output import Output

PROGRAM = "python -m services.tools"

_Run = Callable[[argparse.Namespace, Output], int]

_EPILOG = f"""examples:
  {PROGRAM} ls -l photos/            what is stored under photos/
  {PROGRAM} show photos/cat.jpg      one blob, with its history
  {PROGRAM} check                    re-read everything, compare every checksum
  {PROGRAM} export /backup/b.tar     a snapshot, while the server runs
  {PROGRAM} bench                    can this disk be trusted, and how fast is it

Every command takes --dir and -c, and --json for one JSON document instead of text;
`COMMAND --help` tells the rest. Progress and errors go to stderr.

{exits.TEXT}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    os.umask(0o077)
    parser = _parser()
    args = parser.parse_args(argv)
    logs.setup("tools", debug=args.debug, log_format="text")
    signal.signal(signal.SIGTERM, _stop)
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a name must not end `ls`
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        args.config = config.load(_flags(args), "server")
        args.dir = args.config.dir
        run: _Run = args.run
        status = run(args, Output(as_json=args.json))
        sys.stdout.flush()
        return status
    except CommandFailed as err:
        return _fail(str(err), err.status)
    except ConfigError as err:
        return _fail(str(err), exits.USAGE)
    except (LockHeld, Busy) as err:
        return _fail(str(err), exits.IN_USE)
    except BlobkeepError as err:
        return _fail(str(err), exits.REFUSED)
    except BrokenPipeError:
        # Whoever read our output has enough. Python must not try to flush the rest at exit.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 1)
        return exits.PIPE_CLOSED
    except OSError as err:
        return _fail(f"{err.filename or 'The disk'}: {err.strerror}.", exits.REFUSED)
    except KeyboardInterrupt:
        return _fail("Interrupted: what is not done yet is left as it was.", exits.INTERRUPTED)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt  # so that links, locks and half-written files are cleaned away


def _flags(args: argparse.Namespace) -> list[str]:
    flags = [] if args.config is None else ["--config", args.config]
    return flags if args.dir is None else [*flags, "--dir", args.dir]


def _fail(text: str, status: int) -> int:
    sys.stderr.write(f"tools: {logs.one_line(text)}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Look into a Blobkeep data directory, check it, back it up, bring blobs back.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dir", help="the data directory (default: from the configuration, ./data)")
    common.add_argument("-c", "--config", metavar="FILE", help="configuration file")
    common.add_argument("--json", action="store_true", help="write one JSON document")
    common.add_argument("-D", "--debug", action="store_true", help="log what is done in detail")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, run: _Run) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            parents=[] if name == "quarantine" else [common],
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=exits.TEXT,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.set_defaults(run=run)
        return command

    listing.add_arguments(add("ls", "list the blobs, by location", listing.run))
    showing.add_arguments(add("show", "all that is known of one blob, with its history", showing.run))
    usage.add_arguments(add("du", "what takes the room", usage.run))
    checking.add_arguments(
        add(
            "check",
            "re-read every blob and compare its checksums, with the server running or not; "
            "settle what a dead one left",
            checking.run,
        )
    )
    quarantine.add_arguments(
        add("quarantine", "damaged blobs: list, show, restore, drop", quarantine.run), common
    )
    exporting.add_arguments(add("export", "a consistent snapshot as a tar file", exporting.run))
    importing.add_arguments(add("import", "put the blobs of an export into a directory", importing.run))
    bench.add_arguments(add("bench", "measure the disk, above all its sync, and judge it", bench.run))
    return parser
