"""One stamp of a disk for all directories: so the index of a directory is still valid in a copy of it."""

from __future__ import annotations

from services.engines.local.index.manifest import Stamp

SAME = Stamp(1, 1, 1)
