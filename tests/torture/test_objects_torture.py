"""A short run of `make torture ENGINE=objects`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.torture import objects_campaign

SEED = int(os.environ.get("CAMPAIGN_SEED") or 1)
SECONDS = 5.0


@pytest.mark.timeout(900)
def test_servers_on_one_store_lose_nothing_and_leak_nothing() -> None:
    print(f"SEED={SEED}")  # noqa: T201 - shown where it fails
    with tempfile.TemporaryDirectory(prefix="bk-", dir="/tmp") as home:  # unix sockets need short paths
        outcome = objects_campaign.run(SEED, SECONDS, Path(home))
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert outcome.counts["answered"] > 0
    assert outcome.kills["server stopped"]
