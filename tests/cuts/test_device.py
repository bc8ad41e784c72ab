"""Two power cuts of a real block device, where loop devices may be mounted.

More of them, and xfs: `make power-cuts DEVICE=1`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cuts.device import NotHere, cut

SEED = int(os.environ.get("CAMPAIGN_SEED") or 1)


@pytest.mark.timeout(900)
@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("fails", [False, True], ids=["all is well", "writes fail"])
def test_nothing_acknowledged_is_lost_on_a_real_file_system(tmp_path: Path, fails: bool) -> None:
    print(f"SEED={SEED}")  # noqa: T201 - shown where it fails
    try:
        wrong = cut(tmp_path, "ext4", SEED, 1, fails=fails)
    except NotHere as err:
        pytest.skip(str(err))
    assert not wrong, "\n".join(wrong)


@pytest.mark.timeout(900)
@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount")
def test_the_cuts_show_what_was_not_synced(tmp_path: Path) -> None:
    """The check can fail: without syncs acknowledged writes are lost, and it finds that."""
    try:
        wrong = cut(tmp_path, "ext4", SEED, 2, sync="none")
    except NotHere as err:
        pytest.skip(str(err))
    assert any("was acknowledged" in text for text in wrong)
