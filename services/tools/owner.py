"""Checks that we own the directory: the server's user could not use files that root makes in it."""

from __future__ import annotations

import os
import pwd

from services.tools import exits
from services.tools.exits import CommandFailed


def must_be_owner(root: str) -> None:
    """Raises CommandFailed if the directory exists and belongs to another user."""
    try:
        owner = os.stat(root).st_uid
    except FileNotFoundError:
        return  # it will be ours
    if owner != os.geteuid():
        name = _name(owner)
        raise CommandFailed(
            exits.USAGE,
            f"{os.path.abspath(root)} belongs to {name}: run this as {name} (sudo -u {name} ...), "
            "or files that the server cannot use would be left in it.",
        )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"  # as sudo -u takes it
