"""Where the project is, and the environment of programs that tests start."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(**more: str) -> dict[str, str]:
    """Our own, but without options of Blobkeep and without the project's configuration file; and `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BLOBKEEP_")}
    return {**kept, "PYTHONPATH": str(ROOT), "BLOBKEEP_CONFIG": os.devnull, **more}
