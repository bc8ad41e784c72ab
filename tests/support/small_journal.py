"""Small journals, as on a small disk, for the directories of tests.

A new directory gets two journals, which are written and synced: 64 MiB on a large disk. Tests make hundreds
of directories.
"""

from __future__ import annotations

from services.engines.local.journal import file

_MAX_BYTES = 1 << 20  # some 500 small creates: as on a disk of 64 MiB


def apply() -> None:
    """Makes journals small in the directories that this process and its forks make from now on."""
    file._MAX_BYTES = _MAX_BYTES
