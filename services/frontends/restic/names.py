"""Paths under /restic/: a repository, one of its lists, or a file of it. Pure.

A repository `alice/laptop` is the blobs under `restic/alice/laptop/`, so a client with the prefix
`restic/alice/` has its own repositories, and no other.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from common.errors import NotFound
from services.frontends.restic import PREFIX
from services.rules.locations import parse_location
from services.store import Content

FILE_TYPE = Content("application/octet-stream")
REFUSAL = "The bytes are not what the file's name says: send them again."

_PATH = re.compile(
    r"(?P<repository>.+?)/(?:(?P<config>config)|(?P<kind>data|keys|locks|snapshots|index)/(?P<name>[0-9a-f]{64})?)?"
)


class Named(NamedTuple):
    """`location`: that of the file, or the prefix of a list or repository. `sha256`: that of a file by its
    name; empty for config, whose name is not a hash."""

    location: str
    kind: str  # of the file or the list; empty for a repository
    is_file: bool
    sha256: str


def parse_path(path: str) -> Named:
    """What `path`, as it stands in a target, names. Raises NotFound, BadLocation."""
    found = _PATH.fullmatch(path.removeprefix(PREFIX))
    if found is None:
        raise NotFound("There is nothing here: a repository is /restic/<name>/, with a slash at the end.")
    repository = parse_location("restic/" + found["repository"])
    if found["config"]:
        return Named(f"{repository}/config", "config", True, "")
    if found["kind"]:
        name = found["name"] or ""
        return Named(f"{repository}/{found['kind']}/{name}", found["kind"], bool(name), name)
    return Named(f"{repository}/", "", False, "")
