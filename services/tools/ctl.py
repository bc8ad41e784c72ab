"""`ctl ...`: supervisorctl, for the system that `serve` runs on the data directory."""

from __future__ import annotations

import argparse
import os
import sys

from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.output import Output

HELP = "what runs, and what is to run: status, restart, stop, start, signal (as supervisorctl)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `ctl`."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="status | restart NAME | stop NAME | start NAME | signal HUP server",
        help="NAME is server, gc, recovery or all",
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Become supervisorctl; its exit status is ours."""
    from services import supervisord_conf  # with the engine: the help does without

    conf = supervisord_conf.conf_of(args.config)
    if not conf.exists():
        raise CommandFailed(
            exits.NOT_THERE, f"`serve` never ran on {os.path.abspath(args.config.dir)}: give --dir."
        )
    words = args.words or ["status"]
    os.execv(
        sys.executable, [sys.executable, "-P", "-m", "supervisor.supervisorctl", "-c", str(conf), *words]
    )
