"""The command `blobkeep`: which command, on which directory, and what went wrong as one sentence."""

from __future__ import annotations

import argparse
import importlib
import io
import keyword
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn, Protocol, cast

from common import config, logs, process
from common.errors import BadRequest, BlobkeepError, Busy, ConfigError, Damaged, LockHeld, NotFound
from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.output import Output
from services.tools.parsing import (
    COMMON_DEFAULTS,
    INNERMOST,
    PROGRAM,
    Commands,
    Formatter,
    Parser,
    common_flags,
)


class Command(Protocol):
    """A module of this package that is a command."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace, out: Output) -> int: ...


# In the order of the help. Each is the module of its name.
COMMANDS = (
    *("serve", "ctl", "health"),
    *("ls", "show", "du", "get", "put", "rm", "undelete"),
    *("check", "quarantine", "export", "import", "copy", "widen"),
    *("access", "link", "bench", "config", "completion", "man"),
)


def command_module(name: str) -> Command:
    """The module of a command. All together take a third of a second: each is loaded on its own."""
    module = f"{name}_" if keyword.iskeyword(name) else name
    return cast(Command, importlib.import_module(f"services.tools.{module}"))


EPILOG = f"""examples:
  {PROGRAM} serve                    run the server, with its data in ./data
  {PROGRAM} put cat.jpg photos/cat.jpg
  {PROGRAM} ls -l photos/            what is stored under photos/
  {PROGRAM} show photos/cat.jpg      one blob, with its history
  {PROGRAM} check                    re-read everything, compare every checksum
  {PROGRAM} export /backup/b.tar     a snapshot, while the server runs
  {PROGRAM} bench                    can this disk be trusted, and how fast is it

`{PROGRAM} COMMAND --help` tells the rest. Progress and errors go to stderr.

{exits.TEXT}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    os.umask(0o077)
    given = sys.argv[1:] if argv is None else list(argv)
    if not given:
        make_parser().print_help()
        return exits.OK
    word = next((word for word in given if word in COMMANDS), None)
    # The value of a flag may look like a command: then the parser needs all commands.
    parser = make_parser([word]) if word is not None and _comes_first(given, word) else make_parser()
    args, unknown = parser.parse_known_args(given)
    if unknown:
        innermost: argparse.ArgumentParser = getattr(args, INNERMOST, parser)
        innermost.error(f"unrecognized arguments: {' '.join(unknown)}")
    for name, default in COMMON_DEFAULTS.items():
        if not hasattr(args, name):
            setattr(args, name, default)
    if args.command is None:
        parser.error("say which command")
    logs.setup("blobkeep", debug=args.debug, log_format="text")
    signal.signal(signal.SIGTERM, _stop)
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a name must not end `ls`
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        args.config_file, args.config = args.config, config.load(_flags(args), "server")
        status = command_module(args.command).run(args, Output(as_json=args.json))
        sys.stdout.flush()
        return status
    except CommandFailed as err:
        return _fail(str(err), err.status)
    except (ConfigError, BadRequest) as err:
        return _fail(str(err), exits.USAGE)
    except NotFound as err:
        return _fail(str(err), exits.NOT_THERE)
    except Damaged as err:
        return _fail(str(err), exits.NOT_WELL)
    except (LockHeld, Busy) as err:
        return _fail(str(err), exits.IN_USE)
    except BlobkeepError as err:
        return _fail(str(err), exits.REFUSED)
    except BrokenPipeError:
        # The reader of our output has left. Python must not try to flush the rest at exit.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 1)
        return exits.PIPE_CLOSED
    except OSError as err:
        return _fail(f"{err.filename or 'The disk'}: {err.strerror}.", exits.REFUSED)
    except KeyboardInterrupt:
        return _fail("Interrupted: what is not done yet is left as it was.", exits.INTERRUPTED)


def run() -> NoReturn:
    """The program `blobkeep`."""
    process.leave(main())


def make_parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The command line with these commands. With all, completion and the manual page are made of it."""
    parser = Parser(
        prog=PROGRAM,
        parents=[common_flags()],
        description="A blob store that cannot be made to lose an acknowledged write: run it, look into it, "
        "check it, back it up.",
        epilog=EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    commands = Commands(parser, "command")
    for name in names:
        module = command_module(name)
        module.add_arguments(commands.add(name, module.HELP))
    return parser


def _comes_first(given: Sequence[str], word: str) -> bool:
    """Whether only flags without a value come before the command."""
    return all(
        one.startswith("-") and one in ("--json", "-D", "--debug") for one in given[: given.index(word)]
    )


def _stop(*_: object) -> None:
    raise KeyboardInterrupt  # so that links, locks and half-written files are cleaned away


def _flags(args: argparse.Namespace) -> list[str]:
    flags = [] if args.config is None else ["--config", args.config]
    return flags if args.dir is None else [*flags, "--dir", args.dir]


def _fail(text: str, status: int) -> int:
    sys.stderr.write(f"{PROGRAM}: {logs.one_line(text)}\n")
    return status
