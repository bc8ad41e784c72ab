"""`ctl ...`: supervisorctl, for the system that `serve` runs on the data directory."""

from __future__ import annotations

import argparse
import os
import subprocess
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
    """Become supervisorctl; its exit status is ours. `pid NAME` never prints the 0 of what does not run: a
    `kill` of that ends the shell that asked.
    """
    from services import supervisord_conf  # with the engine: the help does without

    conf = supervisord_conf.conf_of(args.config)
    if not conf.exists():
        raise CommandFailed(
            exits.NOT_THERE, f"`serve` never ran on {os.path.abspath(args.config.dir)}: give --dir."
        )
    words = args.words or ["status"]
    command = [sys.executable, "-P", "-m", "supervisor.supervisorctl", "-c", str(conf), *words]
    if words[0] != "pid":
        os.execv(command[0], command)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    said = done.stdout.splitlines()
    for line in said:
        if line.strip() != "0":
            out.line(line)
    if "0" in map(str.strip, said):
        raise CommandFailed(exits.NOT_WELL, f"{' '.join(words[1:])} does not run: `ctl status` says why.")
    return done.returncode
