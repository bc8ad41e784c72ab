"""The product's gc and recovery worker, but impatient: an upload that is silent for 2 s is given up, and
rounds follow each other at once. Safety must not depend on how long they wait.

`python -m tests.torture.hasty gc|recovery FLAGS`.
"""

from __future__ import annotations

import sys
from functools import partial

from services import gc, recovery
from services.engines.objects import collector, engine, verifier

SILENT_S = 2.0


def main() -> int:
    """Become that process."""
    vars(engine)["Collector"] = partial(collector.Collector, silent_s=SILENT_S)
    vars(collector).update(LOOK_AFTER_S=0.5, _LOOK_AGAIN_S=0.5)
    vars(verifier).update(ROUND_EVERY_S=0.5)
    main_of = {"gc": gc.main, "recovery": recovery.main}[sys.argv[1]]
    return main_of(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
