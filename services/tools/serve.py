"""`serve`: runs the whole system in the foreground, under supervisord (services/launch.py)."""

from __future__ import annotations

import argparse

from common import config
from common.options import OPTIONS
from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.output import Output
from services.tools.parsing import COMMON_DEFAULTS

HELP = "run server, gc and recovery in the foreground, restarting what crashes"

_OPTIONS = [option for option in OPTIONS.values() if option.name not in COMMON_DEFAULTS]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `serve`: every option there is."""
    group = parser.add_argument_group("options", "Also in the configuration file, or as BLOBKEEP_<OPTION>.")
    for option in _OPTIONS:
        config.add_flag(group, option)


def run(args: argparse.Namespace, out: Output) -> int:
    """Become supervisord. Raises BlobkeepError for what prevents the start; else it does not return."""
    from services import launch, start_checks  # with the engine: the help does without

    given = {option.name: getattr(args, option.name, None) for option in _OPTIONS}
    config.check_flags(given)  # here an error can name the flag
    common = {"config": args.config_file, "dir": args.dir, "debug": args.debug or None}
    config.into_environment({**given, **common})  # each process reads its options by itself
    try:
        launch.serve(config.load([], "server"))
    except start_checks.InTheWay as err:
        raise CommandFailed(exits.IN_USE if err.in_use else exits.USAGE, str(err)) from err
    return exits.OK
