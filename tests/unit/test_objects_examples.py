"""The examples of conf/objects are configurations of the engine `objects`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from common.config import load
from services.engines.objects.client import BucketClient
from services.engines.objects.engine import settings_of
from services.engines.objects.meter import Meter

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "conf" / "objects").glob("*.toml"))


def test_there_is_one_for_each_store() -> None:
    assert [path.stem for path in EXAMPLES] == ["aws", "ceph", "r2", "seaweedfs"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_names_a_bucket(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    config = load(["-c", str(path)], "server", {})
    assert config.engine == "objects"
    # Files that only the machine of the example has.
    settings = settings_of(replace(config, objects_credentials_file="", objects_ca_file=""))
    assert settings.bucket
    BucketClient(settings, Meter())
