"""`man`: the manual page, in roff, made of the same parser as the help: `blobkeep man | man -l -`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Set

from common.config import DEFAULT_FILE
from common.version import VERSION
from services.tools import exits
from services.tools.output import Output
from services.tools.parsing import PROGRAM, arguments_of, commands_of

HELP = "the manual page, for man -l -"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`man` has no arguments of its own."""


def run(args: argparse.Namespace, out: Output) -> int:
    """Write the page."""
    from services.tools.cli import make_parser

    out.text("page", page(make_parser()))
    return exits.OK


def page(parser: argparse.ArgumentParser) -> str:
    """The whole page."""
    lines = [
        f'.TH {PROGRAM.upper()} 1 "" "Blobkeep {VERSION}" "User Commands"',
        ".SH NAME",
        f"{PROGRAM} \\- a blob store that cannot be made to lose an acknowledged write",
        ".SH SYNOPSIS",
        f".B {PROGRAM}",
        "[\\fIFLAGS\\fR] \\fICOMMAND\\fR [\\fIFLAGS\\fR] [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        _roff(parser.description or ""),
        ".SH FLAGS OF EVERY COMMAND",
        *_flags(parser),
        ".SH COMMANDS",
        *_commands(parser, PROGRAM),
        ".SH EXIT STATUS",
        *_block(exits.TEXT.split("\n", 1)[1]),
        ".SH ENVIRONMENT",
        ".TP",
        "\\fBBLOBKEEP_CONFIG\\fR",
        "The configuration file.",
        ".TP",
        "\\fBBLOBKEEP_\\fIOPTION\\fR",
        "Any option, such as BLOBKEEP_DIR. A flag wins over it, and it wins over the file.",
        ".SH FILES",
        ".TP",
        f"\\fI{_roff(str(DEFAULT_FILE))}\\fR",
        "The configuration file where none is named.",
        ".SH EXAMPLES",
        *_block((parser.epilog or "").split("\n\n")[0].split("\n", 1)[1]),
    ]
    return "\n".join(lines)


def _commands(parser: argparse.ArgumentParser, path: str) -> Iterator[str]:
    common = {s for action in arguments_of(parser) for s in action.option_strings}
    for name, text, below in commands_of(parser):
        words = [a.metavar or a.dest for a in below._actions if not a.option_strings]
        yield ".SS " + _roff(" ".join([path, name, *map(str, words)]))
        yield _roff(text[:1].upper() + text[1:] + ".")
        yield from _flags(below, without=common)
        yield from _commands(below, f"{path} {name}")


def _flags(parser: argparse.ArgumentParser, without: Set[str] = frozenset()) -> Iterator[str]:
    for action in arguments_of(parser):
        if without & set(action.option_strings):
            continue
        if not action.help or action.help == argparse.SUPPRESS:
            continue
        names = ", ".join(f"\\fB{_roff(s)}\\fR" for s in action.option_strings)
        value = action.metavar or action.dest.upper() if action.nargs != 0 else ""
        if not action.option_strings:
            names, value = f"\\fI{_roff(str(action.metavar or action.dest))}\\fR", ""
        yield ".TP"
        yield f"{names} \\fI{_roff(str(value))}\\fR" if value else names
        yield _roff(_help_of(parser, action))


def _help_of(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return parser._get_formatter()._expand_help(action)


def _block(text: str) -> list[str]:
    return [".nf", *(_roff(line) for line in text.splitlines()), ".fi"]


def _roff(text: str) -> str:
    """`text` with what roff would take for its own escaped."""
    escaped = text.replace("\\", "\\\\").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in escaped.split("\n"))
