"""The recovery process: checks that what is stored is still what was written.

`python -m services.recovery [-D] [--dir DIR] [--once [--dry-run]]`. What a pass does is the engine's.
`--once` is the operator's check: everything, once, and a table.
"""

from __future__ import annotations

from collections.abc import Sequence

from common import process
from common.config import Config
from common.worker import Worker, run_worker
from services.engines.choose import choose


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop, or the operator's check with --once; returns the exit status."""

    def make(options: Config) -> Worker:
        return choose(options).verifier()

    def once(options: Config) -> int:
        return choose(options).check(dry_run=options.dry_run)

    return run_worker("recovery", make, argv, once)


if __name__ == "__main__":
    process.leave(main())
