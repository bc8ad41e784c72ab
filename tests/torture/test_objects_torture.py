"""A short run of `make torture ENGINE=objects`."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.torture import objects_campaign

SEED = int(os.environ.get("CAMPAIGN_SEED") or 1)
SECONDS = 3.0


@pytest.mark.timeout(900)
def test_servers_on_one_store_lose_nothing_and_leak_nothing() -> None:
    print(f"SEED={SEED}")  # noqa: T201 - shown where it fails
    home = Path(tempfile.mkdtemp(prefix="bk-", dir="/tmp"))  # unix sockets need short paths
    outcome = objects_campaign.run(SEED, SECONDS, home)
    assert not outcome.wrong, "\n".join([f"kept in {home}", *outcome.wrong])
    shutil.rmtree(home)
    assert outcome.counts["answered"] > 0
    assert outcome.kills["server stopped"]
