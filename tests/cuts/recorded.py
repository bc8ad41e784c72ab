"""`python -m tests.cuts.recorded PROGRAM ...`: a process of the product whose disk operations are recorded.

The environment has the log's path (RECORD_LOG), when to die (RECORD_DIE_AT: at which entry of its own), how
long a sync may take (RECORD_SYNC_S), how large a journal file is (RECORD_JOURNAL_BYTES: tiny, so that it
turns often), how many ids there are (RECORD_IDS: few, so that they come back) and from which size on a body
or part goes past the page cache (RECORD_PAST_CACHE_BYTES). All else is the product's.
Recorded processes see a boot id of their own, so a later process sees their disk as after a system crash.
"""

from __future__ import annotations

import importlib
import os
import random
import sys

from services.engines.local.index import merge_worker
from services.engines.local.journal import early_sync
from services.engines.local.journal import file as journal_file
from services.engines.local.journal import format as journal
from services.engines.local.recovery import restart
from services.engines.local.serving import ids, index_keeper, part_upload, upload
from tests.cuts.recorder import SharedLog, install
from tests.support.same_disk import SAME

BOOT = b"\x01" * 16


class _FewIds(random.Random):
    """Chooses only among the first few ids."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def random(self) -> float:
        return super().random() * self._count / (1 << 16)


def main() -> int:
    """Run the program; returns its exit status."""
    about = os.environ
    size = int(about["RECORD_JOURNAL_BYTES"])
    journal_file._MIN_BYTES = journal_file._MAX_BYTES = size
    # Early syncs, too, but not more often than turns, since they leave little for a cut to undo.
    early_sync._PORTION_BYTES, early_sync._QUICKLY_S, early_sync._DIRTY_BYTES = size, 3600.0, 0
    journal.boot_id = lambda: BOOT  # type: ignore[assignment]
    restart.stamp_of = lambda *_: SAME  # a later check makes the disk again, and must see the same one
    vars(index_keeper)["have_done"] = merge_worker.work  # in this process, so that it is recorded
    if count := int(about.get("RECORD_IDS", "0")):
        vars(ids)["random"] = _FewIds(count)
    if past_cache_bytes := int(about.get("RECORD_PAST_CACHE_BYTES", "0")):
        for module_of in (upload, part_upload):
            vars(module_of)["PAST_CACHE_BYTES"] = past_cache_bytes
    log = SharedLog(about["RECORD_LOG"], int(about.get("RECORD_DIE_AT", "0")))
    install(log, float(about.get("RECORD_SYNC_S", "0")))
    module = importlib.import_module(f"services.{sys.argv[1]}")
    return int(module.main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
