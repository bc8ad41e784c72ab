"""The object store for development: commands find it by the configuration that its start writes."""

from __future__ import annotations

import stat
from pathlib import Path

from services.engines.objects import development
from tests.support.seaweed import Seaweed
from tests.support.tools import tool

NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}


def test_commands_find_it_by_its_configuration(store_process: Seaweed, tmp_path: Path) -> None:
    """Nobody could know its port and its key."""
    conf, body = tmp_path / "object-store.toml", tmp_path / "body"
    body.write_bytes(b"meow")
    more = {"dir": str(tmp_path / "a dir"), "objects_prefix": store_process.settings().prefix}
    for _ in range(2):  # each start writes it
        development.write_configuration(str(conf), store_process.ports, more)
    assert stat.S_IMODE((tmp_path / "object-store.credentials").stat().st_mode) == 0o600
    ran = tool("-c", conf, "put", body, "cats/a", env=NO_KEYS)
    assert ran.status == 0, ran.err
    assert tool("-c", conf, "ls", env=NO_KEYS).out == "cats/a\n"
    ran = tool("copy", conf, tmp_path / "copied", env=NO_KEYS)
    assert ran.status == 0, ran.err
    assert tool("ls", "--dir", tmp_path / "copied").out == "cats/a\n"
