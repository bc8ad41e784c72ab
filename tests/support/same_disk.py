"""The stamp of a directory, for tests that copy one and mean the same: its index is believed in the copy."""

from __future__ import annotations

from services.engines.local.index.manifest import Stamp

SAME = Stamp(1, 1, 1)
