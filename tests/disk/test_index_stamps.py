"""Whether an index fits the journal that is beside it: `restart.why_not`, which needs no blobs."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from services.engines.local.disk.layout import Layout
from services.engines.local.index.manifest import FORMAT, Manifest, Stamp
from services.engines.local.journal import format as journal
from services.engines.local.recovery.restart import why_not

STAMP = Stamp(1, 2, 3)
LACKS = "the journal does not have all that was written since"


def manifest(epoch: int) -> Manifest:
    return Manifest(FORMAT, 16, STAMP, epoch, bytes(16), runs=[], max_seq=0, ids={}, size_bytes=0)


@pytest.mark.parametrize(
    ("epochs", "why"),
    [
        ([(4, True), (5, True)], ""),
        ([(6, False), (5, True)], ""),
        ([(6, False), (5, False)], ""),
        ([(6, False), (7, False)], ""),
        ([(0, True), (5, True)], ""),
        ([(6, True), (5, True)], LACKS),
        ([(8, False), (7, False)], LACKS),
        ([(8, False), (6, False)], LACKS),
        ([(6, True), (7, False)], LACKS),
        ([(6, False), None], "a file of the journal is missing or damaged"),
        ([(3, True), (4, True)], "the journal is older than it"),
        ([(0, True), (0, True)], "the journal is older than it"),
    ],
)
def test_an_index_of_epoch_5_is_used_only_beside_a_journal_that_goes_on_from_it(
    tmp_path: Path, epochs: list[tuple[int, bool] | None], why: str
) -> None:
    with mock.patch.object(journal, "epochs", return_value=epochs):
        assert why_not(Layout(str(tmp_path), 16), manifest(5), STAMP) == why
        assert why_not(Layout(str(tmp_path), 16), manifest(5), Stamp(1, 2, 4)) != ""
        assert why_not(Layout(str(tmp_path), 16), None, STAMP) == "there is none"
