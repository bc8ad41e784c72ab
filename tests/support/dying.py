"""`python -m tests.support.dying ...`: the server, the gc or the recovery worker, dying at a disk call.

Environment: DIES_AS the program, DIES_AT the number of the call, counted from 1 and from the start; DIES_LATE
not empty: after the call was made.
"""

from __future__ import annotations

import importlib
import os
import sys

from tests.support.disk_calls import CHANGES, Death, standing_between


def main() -> int:
    """Run the program until it ends or dies."""
    program = importlib.import_module(f"services.{os.environ['DIES_AS']}")
    death = Death(int(os.environ["DIES_AT"]), late=bool(os.environ.get("DIES_LATE")))
    with standing_between(death, CHANGES):
        status: int = program.main()
    return status


if __name__ == "__main__":
    sys.exit(main())
