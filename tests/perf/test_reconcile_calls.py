"""System calls for each blob at a restart, counted with strace like those of requests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common.states import MSG_DELETED
from services.engines.local.disk import blob_folder, directory
from services.engines.local.disk.layout import Layout
from tests.disk.test_reconcile import put
from tests.perf.test_system_calls import Seen, can_trace, check
from tests.support.processes import ROOT
from tests.support.programs import needs

pytestmark = [needs("strace"), pytest.mark.skipif(not can_trace(), reason="strace is not allowed")]

FEW, MANY = 20, 220
RECONCILE = (
    "import sys; from services.engines.local.disk import directory;"
    "from services.engines.local.recovery.reconcile import reconcile;"
    "reconcile(directory.existing(sys.argv[1]))"
)
# Its state is opened, read and closed, and the size of its data is read. Names are read by the hundred.
PLAIN = {"openat": 1, "read": 1, "close": 1, "newfstatat": 1}
ENDED = {"openat": 1, "read": 1, "close": 1}


def calls_of_settling(data_dir: Layout, folder: Path) -> dict[str, int]:
    path = folder / "calls"
    command = ["strace", "-f", "-c", "-U", "name,calls", "-o", str(path)]
    subprocess.run([*command, sys.executable, "-c", RECONCILE, data_dir.root], cwd=ROOT, check=True)
    lines = [line.split() for line in path.read_text().splitlines()]
    return {one[0]: int(one[1]) for one in lines if len(one) == 2 and one[1].isdigit() and one[0] != "total"}


def test_a_plain_blob_takes_no_more_system_calls_than_recorded(tmp_path: Path) -> None:
    data_dir = directory.open_directory(str(tmp_path / "data"), 16, owner=True)
    for blob_id in range(FEW):
        put(data_dir, blob_id, f"{blob_id}", seq=blob_id + 1)
    calls_of_settling(data_dir, tmp_path)  # the first start makes the reserve, and compiles modules
    before = calls_of_settling(data_dir, tmp_path)
    for blob_id in range(FEW, MANY):
        put(data_dir, blob_id, f"{blob_id}", seq=blob_id + 1)
    after = calls_of_settling(data_dir, tmp_path)
    counts = {name: (count - before.get(name, 0)) / (MANY - FEW) for name, count in after.items()}
    assert counts["openat"] > 0.9, f"strace saw {counts}"
    check(Seen(counts), PLAIN, "settling a plain blob")


def test_one_in_failure_takes_no_more_system_calls_than_recorded(tmp_path: Path) -> None:
    """A directory may keep many of them, and each start reads them: see `keep_deleted`."""
    data_dir = directory.open_directory(str(tmp_path / "data"), 16, owner=True)
    for blob_id in range(FEW):
        put_and_end(data_dir, blob_id)
    calls_of_settling(data_dir, tmp_path)
    before = calls_of_settling(data_dir, tmp_path)
    for blob_id in range(FEW, MANY):
        put_and_end(data_dir, blob_id)
    after = calls_of_settling(data_dir, tmp_path)
    counts = {name: (count - before.get(name, 0)) / (MANY - FEW) for name, count in after.items()}
    assert counts["openat"] > 0.9, f"strace saw {counts}"
    check(Seen(counts), ENDED, "a blob in Failure")


def put_and_end(data_dir: Layout, blob_id: int) -> None:
    done = put(data_dir, blob_id, f"{blob_id}", seq=blob_id + 1)
    blob_folder.write_failure(data_dir, blob_folder.failed(done, MSG_DELETED, 1, keeps=True))
