"""`python -m services.tools COMMAND ...`."""

from __future__ import annotations

import sys

from services.tools.cli import main

sys.exit(main())
