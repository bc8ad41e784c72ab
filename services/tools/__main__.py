"""`python -m services.tools COMMAND ...`."""

from __future__ import annotations

from services.tools.cli import run

run()
