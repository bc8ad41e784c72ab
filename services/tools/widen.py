"""`widen`: a directory of 65,536 ids becomes one of 4 billion, in place, in seconds."""

from __future__ import annotations

import argparse

from common.progress import Progress
from services.tools import exits
from services.tools.output import Output
from services.tools.storage import widen

HELP = "give a directory ids of 32 bits, in place, while nothing runs on it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`widen` has no arguments of its own."""


def run(args: argparse.Namespace, out: Output) -> int:
    """Widen the directory, durably. If it is interrupted, it can be run again."""
    with Progress("widen", "blobs") as progress:
        moved = widen(args.config, progress)
    out.document({"moved": moved, "id_bits": 32})
    out.line(f"{moved:,} blobs moved. Set id_bits = 32 in the configuration, then start all three processes.")
    return exits.OK
