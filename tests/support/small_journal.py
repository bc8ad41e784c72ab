"""Journals as on a small disk, for the directories of tests.

A fresh directory gets two journals, written and synced: 64 MiB where the disk is large. Tests make hundreds.
"""

from __future__ import annotations

from services.engines.local.journal import file

_MAX_BYTES = 4 << 20  # some 2,000 small creates


def apply() -> None:
    """Of the directories that this process makes from now on, and those that are forked from it."""
    file._MAX_BYTES = _MAX_BYTES
