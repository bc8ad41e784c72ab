"""The garbage collector process: removes what is in state Failure, a pass every 5 seconds.

`python -m services.gc [-D] [--dir DIR] [--once]`. What a pass does is the engine's.
"""

from __future__ import annotations

from collections.abc import Sequence

from common import process
from common.config import Config
from common.worker import Worker, run_worker
from services.engines.choose import choose


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop, or one pass with --once; returns the exit status."""

    def make(options: Config) -> Worker:
        return choose(options).collector(once=options.once)

    return run_worker("gc", make, argv)


if __name__ == "__main__":
    process.leave(main())
