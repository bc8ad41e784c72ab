"""sccache over WebDAV: the program itself, if it is installed."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.clients.programs import run
from tests.conftest import StartServer
from tests.support.processes import Server
from tests.support.programs import need


@contextlib.contextmanager
def sccache(server: Server, folder: Path) -> Iterator[dict[str, str]]:
    """sccache's own server with an empty local cache. Gives the environment for its client."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    env = {
        "SCCACHE_WEBDAV_ENDPOINT": f"http://127.0.0.1:{server.port}/store",
        "SCCACHE_WEBDAV_KEY_PREFIX": "sccache",
        "SCCACHE_SERVER_PORT": str(port),
        "SCCACHE_DIR": str(folder / "local"),
        "PATH": os.environ["PATH"],
    }
    run("sccache", "--start-server", cwd=folder, env=env)
    try:
        yield env
    finally:
        subprocess.run([need("sccache"), "--stop-server"], env=env, capture_output=True, check=False)


def test_sccache_hits_what_another_machine_compiled(start_server: StartServer, tmp_path: Path) -> None:
    need("sccache")
    need("gcc")
    server = start_server("--put-creates")
    (tmp_path / "a.c").write_text("int worth(void) { return 7; }\n")
    for machine, hits in (("first", 0), ("second", 1)):
        folder = tmp_path / machine
        folder.mkdir()
        with sccache(server, folder) as env:
            run("sccache", "gcc", "-c", str(tmp_path / "a.c"), "-o", "a.o", cwd=folder, env=env)
            told = json.loads(run("sccache", "--show-stats", "--stats-format=json", cwd=folder, env=env)[0])
        stats = told["stats"]
        assert sum(stats["cache_hits"]["counts"].values()) == hits, stats
        assert stats["cache_write_errors"] == 0
    assert b"sccache/" in server.ask("GET", "/store/?delimiter=%2F").body
