"""`config`: a configuration file with every option at its default, commented out."""

from __future__ import annotations

import argparse

from common.options_file import as_toml
from services.tools import exits
from services.tools.output import Output

HELP = "a configuration file that explains every option, each at its default"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`config` has no arguments of its own."""


def run(args: argparse.Namespace, out: Output) -> int:
    """Write the file."""
    out.text("file", as_toml())
    return exits.OK
