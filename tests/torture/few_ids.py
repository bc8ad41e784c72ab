"""`python -m tests.torture.few_ids ...`: the server, but it gives the lowest ids first, so that ids are soon
used again.

As in the product, an id is taken by an exclusive mkdir, or skipped if it has a folder.
"""

from __future__ import annotations

import random
import sys
from collections.abc import MutableSequence
from typing import Any

from services import server
from services.engines.local.serving import ids

COUNT = 64


class _LowFirst(random.Random):
    def random(self) -> float:
        return super().random() * COUNT / (1 << 16)

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Beyond those, the lowest free id first."""


if __name__ == "__main__":
    vars(ids)["random"] = _LowFirst()
    sys.exit(server.main(sys.argv[1:]))
