"""Ids: taken by an exclusive mkdir, refused at once where every one of them has a live blob."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import NoIdLeft
from services.engines.local.disk.layout import Layout
from services.engines.local.serving.ids import Ids


def test_where_all_ids_are_live_an_upload_is_refused_before_its_body(tmp_path: Path) -> None:
    used = set(range(65_535))
    ids = Ids(Layout(str(tmp_path), 16), used)
    ids.check()
    used.add(65_535)
    with pytest.raises(NoIdLeft) as refused:
        ids.check()
    assert not refused.value.reclaiming  # the gc frees none of these


def test_the_last_free_id_is_found(tmp_path: Path) -> None:
    used = set(range(65_536)) - {4711}
    assert Ids(Layout(str(tmp_path), 16), used).take() == 4711
    assert (tmp_path / "4711").is_dir()
