"""What `quarantine` says and asks, of a directory and of an object store."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.output import Output, size


def no_such(name: str) -> CommandFailed:
    return CommandFailed(exits.NOT_THERE, f"Nothing in quarantine is named {name!r}: see `quarantine list`.")


def not_whole(name: str, damage: str, place: str) -> CommandFailed:
    return CommandFailed(
        exits.NOT_WELL, f"{name} is not restored, {damage}. What of it is still of use is in {place}."
    )


def written_since(location: str) -> CommandFailed:
    return CommandFailed(
        exits.NOT_WELL,
        f"{location!r} was written anew since, and stands: restore with --to ANOTHER/LOCATION, "
        "or delete that one first.",
    )


def deleted_since(location: str) -> CommandFailed:
    return CommandFailed(
        exits.NOT_WELL,
        f"{location!r} was deleted since: restoring would undo that. --even-deleted does, or give --to.",
    )


def say_list(out: Output, rows: Sequence[Sequence[str]]) -> None:
    """`rows`: name, since when, what its location answers, the location, why."""
    if rows:
        out.table(["name", "since", "location is", "location", "reason"], rows)
    else:
        out.line("Nothing is in quarantine.")


def say_examined(out: Output, about: Mapping[str, object], bad: Sequence[int] | None, damage: str) -> int:
    """What is known of one, and which of its bytes are good; returns the exit status.

    `bad`: the numbers of the MiB that are not, None if that cannot be told; `damage`: empty if it is whole.
    """
    out.document({**about, "bad_mib": bad, "whole": not damage})
    for name, value in about.items():
        out.line(f"{name:9} {value}")
    if bad is None:
        out.line("Its state, its data or its checksums cannot be read: nothing tells which bytes are good.")
    elif bad:
        out.line("MiB of its data that are not what was written, from 0: " + " ".join(map(str, bad)))
    if damage:
        out.line(f"It is damaged: {damage}.")
        return exits.NOT_WELL
    out.line("It is whole: `quarantine restore` makes it the blob of its location again.")
    return exits.OK


def say_restored(out: Output, name: str, location: str, size_bytes: int, kept: str) -> None:
    """`kept`: what is in quarantine until it is dropped."""
    out.line(f"{location} is served again ({size(size_bytes)}, every checksum right).")
    out.line(f"`quarantine drop {name}` removes {kept}, which is kept until then.")


def say_dropped(out: Output, names: Sequence[str], freed_bytes: int) -> None:
    out.document({"dropped": list(names), "freed_bytes": freed_bytes})
    out.line(f"{len(names)} removed, {size(freed_bytes)} freed.")


def ask(named: Sequence[tuple[str, str | None]]) -> None:
    """Ask whether to remove these, each with its location. Raises CommandFailed unless the answer is yes."""
    if not sys.stdin.isatty():
        raise CommandFailed(exits.USAGE, "This removes what cannot be brought back: say --yes.")
    for name, location in named:
        sys.stderr.write(f"{name} of {location!r}\n")
    sys.stderr.write("Remove for good? A location that answers 500 for it will answer 404. [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandFailed(exits.NOT_WELL, "Nothing was removed.")
