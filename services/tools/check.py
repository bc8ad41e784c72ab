"""`check`: one pass of the recovery worker over the whole directory, with the server running or not."""

from __future__ import annotations

import argparse

from services.tools import exits, on_objects
from services.tools.output import Output
from services.tools.storage import Report, Storage

HELP = "re-read every blob and compare its checksums, with the server running or not"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `check`."""
    parser.add_argument("--dry-run", action="store_true", help="change nothing, report nothing to the server")


def run(args: argparse.Namespace, out: Output) -> int:
    """Check, and write the table; 1 where anything is damaged."""
    if on_objects.is_asked(args.config):
        return on_objects.check(args, out)
    storage = Storage(args.config)
    if not args.dry_run:
        storage.must_be_owner()
    if args.dry_run and storage.needs_replay():
        out.line("The journal has not been replayed since the system crashed: without --dry-run it is.")
    report = storage.check(dry_run=args.dry_run)
    out.document(_document(report))
    out.table(["what", "how many"], [[name, count] for name, count in report.lines()])
    for sentence in report.damage():
        out.line(sentence)
    if report.is_well:
        out.line("All is well.")
    return exits.OK if report.is_well else exits.NOT_WELL


def _document(report: Report) -> dict[str, object]:
    return {
        "well": report.is_well,
        "server": report.reconciled is None,
        "counts": dict(report.lines()),
        "damaged": [
            {"id": d.id, "location": d.location, "seq": d.seq, "reason": d.reason}
            for d in report.tally.damaged
        ],
        "quarantined": [
            {
                "name": entry.name,
                "location": entry.note.location if entry.note else None,
                "reason": entry.note.reason if entry.note else None,
            }
            for entry in report.waiting
        ],
    }
