"""The parsers of the command line. Common flags may come before or after a command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from common.version import VERSION
from services.tools import exits

PROGRAM = "blobkeep"
INNERMOST = "_parser"  # the parser of the command that was given, among the arguments
_LONGEST_USAGE = 6  # lines


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of texts, and leaves room for long flags."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


class Parser(argparse.ArgumentParser):
    """A parser whose errors say where the help is. It shows no usage of many lines, which would hide them."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        usage = self.format_usage()
        if usage.count("\n") <= _LONGEST_USAGE:
            sys.stderr.write(usage)
        self.exit(exits.USAGE, f"{self.prog}: {message}\nSee: {self.prog} --help\n")


def common_flags() -> argparse.ArgumentParser:
    """The flags that every command has. None has a default: that would undo one given before the command."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = parser.add_argument_group("flags of every command")
    group.add_argument("--dir", help="the data directory (default: from the configuration, ./data)")
    group.add_argument("-c", "--config", metavar="FILE", help="configuration file")
    group.add_argument("--json", action="store_true", help="write one JSON document")
    group.add_argument("-D", "--debug", action="store_true", help="log what is done in detail")
    group.add_argument("--version", action="version", version=f"{PROGRAM} {VERSION}")
    return parser


COMMON_DEFAULTS = {"dir": None, "config": None, "json": False, "debug": False}


class Below(NamedTuple):
    """A command below a parser: its name, what its help says, its own parser."""

    name: str
    help: str
    parser: argparse.ArgumentParser


def commands_of(parser: argparse.ArgumentParser) -> list[Below]:
    """The commands below a parser, in the order of the help. argparse has no public way to ask."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            return [Below(name, texts.get(name, ""), one) for name, one in action.choices.items()]
    return []


def arguments_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The flags and arguments of a parser, without its commands."""
    return [one for one in parser._actions if not isinstance(one, argparse._SubParsersAction)]


class Commands:
    """Adds the commands below a parser."""

    def __init__(self, parser: argparse.ArgumentParser, dest: str, names: Sequence[str] = ()) -> None:
        metavar = "|".join(names) if names else "COMMAND"
        self._below = parser.add_subparsers(
            dest=dest, metavar=metavar, title="commands", required=bool(names)
        )

    def add(self, name: str, help_text: str) -> argparse.ArgumentParser:
        """Add one. `help_text`: without a capital and a full stop."""
        made = self._below.add_parser(
            name,
            parents=[common_flags()],
            help=help_text,
            description=help_text[0].upper() + help_text[1:] + ".",
            epilog=exits.TEXT,
            formatter_class=Formatter,
            allow_abbrev=False,
        )
        made.set_defaults(**{INNERMOST: made})
        return made
