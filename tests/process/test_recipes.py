"""Every recipe of docs/operating.md, run as it stands on the page: what an operator types must work as typed.
Most run on one system, in the order of the page. Only what the page cannot know is replaced: the port, the id
of a blob, the name of a folder in quarantine, and where /backup and /tmp/proof are.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.config import reader_count
from common.options import Config
from services.engines.objects.development import free_ports
from tests.support.processes import ROOT, wait_for
from tests.support.programs import need
from tests.support.rules import DataDirectory, live_blobs

RUNNING = 3 + reader_count(Config(), is_supervised=True)
PAGE = (ROOT / "docs" / "operating.md").read_text()
# On the page, but not run as a step. `serve` runs all the time. The last two need a disk that fails, or a
# quiet one for minutes.
NOT_RUN = {
    *(
        "blobkeep config",
        "blobkeep serve",
        "blobkeep export",
        "blobkeep check",
        "blobkeep du",
        "blobkeep show",
    ),
    *("blobkeep quarantine drop", "blobkeep ctl status", "blobkeep quarantine restore"),
    *("mv DIR/13342 DIR/.quarantine/13342-0", "blobkeep bench", "blobkeep bench /where/the/blobs/go"),
}


def recipes() -> set[str]:
    """The lines of the page's blocks, and our commands in backquotes."""
    blocks = re.findall(r"^    (\S.*)$", PAGE, re.MULTILINE)
    inline = re.findall(r"`((?:blobkeep |tar |rsync -a OLD|curl |mv DIR|cat DIR)[^`]*)`", PAGE)
    typed = {re.sub(r"\s+# .*", "", line) for line in (*blocks, *inline) if not line.startswith("#")}
    return {" ".join(line.split()) for line in typed}


class Operator:
    """An operator at a shell, in the folder in which `blobkeep serve` runs."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.elsewhere = folder / "elsewhere"
        (self.elsewhere / "backup").mkdir(parents=True)
        self.home.mkdir()
        self.data = DataDirectory(self.home / "data")
        (self.port,) = free_ports(1)
        self.typed: set[str] = set()
        self.placed: dict[str, str] = {}
        self.headers: dict[str, str] = {}  # of every request
        programs = folder / "bin"
        programs.mkdir()
        (programs / "blobkeep").symlink_to(Path(sys.executable).parent / "blobkeep")
        # this folder stands for the other machine
        (programs / "ssh").write_text('#!/bin/sh\nexec sh -c "$2"\n')
        (programs / "ssh").chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BLOBKEEP_")}
        self.env = {
            **kept,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "BLOBKEEP_CONFIG": os.devnull,
            "BLOBKEEP_LISTEN": f"127.0.0.1:{self.port}",
        }

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        with (self.elsewhere / "log").open("ab") as log:
            serving = subprocess.Popen(
                ["blobkeep", "serve"], cwd=self.home, env=self.env, stdout=log, stderr=log, stdin=log
            )
        try:
            wait_for(self.is_well, what="the first start")
            yield
        finally:
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(60) == 0

    def is_well(self) -> bool:
        with contextlib.suppress(OSError):
            return self.ask("GET", "/healthz")[0] == 200
        return False

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, self.headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def types(self, recipe: str, status: int = 0) -> str:
        """Run a recipe of the page. Gives its output. Its exit status must be `status`."""
        assert recipe in recipes(), f"docs/operating.md does not say: {recipe}"
        self.typed.add(recipe)
        places = {
            "localhost:7777": f"localhost:{self.port}",
            "/backup/": f"{self.elsewhere}/backup/",
            "/tmp/proof": f"{self.elsewhere}/proof",
            "OLD/ NEW/": f"{self.data.path}/ {self.elsewhere}/new/",
            "DIR/": f"{self.data.path}/",
            **self.placed,
        }
        text = recipe
        for shown, meant in places.items():
            text = text.replace(shown, meant)
        done = subprocess.run(
            text, shell=True, cwd=self.home, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, f"{text}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def damage(self, location: str) -> Path:
        """Change a byte of a blob, and have it found. Gives its folder in quarantine."""
        blob = self.id_of(location)
        path = self.data.path / blob / "data.raw"
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        self.types("blobkeep check", status=1)
        assert self.ask("GET", f"/store/{location}")[0] == 500
        moved = wait_for(lambda: [*(self.data.path / ".quarantine").glob(f"{blob}-*")], what="quarantine")
        (folder,) = moved
        self.placed["13342-17"] = folder.name
        return folder / "data.raw"

    def id_of(self, location: str) -> str:
        listed = self.types("blobkeep ls -l photos/")
        (blob,) = [line.split()[0] for line in listed.splitlines() if line.endswith(f"  {location}")]
        return blob


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    made = Operator(tmp_path)
    yield made
    made.data.check()


CAT, DOG = b"meow" * 1000, b"woof"


def test_the_recipes_of_the_page_work_as_they_stand_there(operator: Operator) -> None:
    types = operator.types
    with operator.serving():
        for location, body in (("photos/cat.jpg", CAT), ("photos/dog.jpg", DOG), ("other", b"x")):
            assert operator.ask("POST", f"/store/{location}", body)[0] == 201
        # Start, stop, look. Each process is STARTING for the first second, even if the server answers
        # already.
        wait_for(lambda: types("blobkeep ctl status").count("RUNNING") == RUNNING, what="all that run")
        assert "server: started" in types("blobkeep ctl restart server")
        wait_for(operator.is_well, what="the restarted server")
        types("blobkeep ctl signal HUP server")
        assert json.loads(types("curl -s localhost:7777/healthz?verbose=1"))["ready"] is True
        assert "Blob Data WR Complete!" in types("blobkeep show photos/cat.jpg")
        assert "free on this disk" in types("blobkeep du")
        assert "photos/" in types("blobkeep du --depth 2")
        assert "All is well." in types("blobkeep check")
        # Back up, and prove it.
        types("blobkeep export /backup/blobs-$(date +%F).tar")
        (backup,) = (operator.elsewhere / "backup").iterdir()
        types("blobkeep export - | ssh backup 'cat > blobs.tar'")
        assert (operator.home / "blobs.tar").stat().st_size == backup.stat().st_size
        told = types("mkdir /tmp/proof && tar xf blobs.tar -C /tmp/proof && blobkeep check --dir /tmp/proof")
        assert "All is well." in told
        # Restore one blob by name, a folder, and without Blobkeep.
        assert types("blobkeep ls --tar blobs.tar photos/").split() == ["photos/cat.jpg", "photos/dog.jpg"]
        operator.placed["13342"] = operator.id_of("photos/cat.jpg")
        types("tar xf blobs.tar 13342")
        assert (operator.home / operator.placed.pop("13342") / "data.raw").read_bytes() == CAT
        assert operator.ask("DELETE", "/store/photos/cat.jpg")[0] == 200
        types("blobkeep import blobs.tar --only photos/cat.jpg")
        assert operator.ask("GET", "/store/photos/cat.jpg") == (200, CAT)
        assert operator.ask("PUT", "/store/other", b"newer")[0] == 200
        assert operator.ask("DELETE", "/store/photos/dog.jpg")[0] == 200
        types("blobkeep import blobs.tar", status=1)  # a blob with other bytes is kept, and counted
        assert operator.ask("GET", "/store/photos/dog.jpg") == (200, DOG)
        assert operator.ask("GET", "/store/other") == (200, b"newer")
        # Damage that can be repaired, and damage that cannot.
        operator.data.rotten = True
        data = operator.damage("photos/cat.jpg")
        assert operator.placed["13342-17"] in types("blobkeep quarantine list")
        types("blobkeep quarantine show 13342-17", status=1)
        data.write_bytes(CAT)
        types("blobkeep quarantine restore 13342-17")
        assert operator.ask("GET", "/store/photos/cat.jpg") == (200, CAT)
        data = operator.damage("photos/dog.jpg")
        assert operator.ask("DELETE", "/store/photos/dog.jpg")[0] == 200
        types("blobkeep quarantine drop 13342-17 --yes")
        assert not data.exists()
        # Upgrade, and what the alarms say.
        types("blobkeep ctl restart all")
        wait_for(operator.is_well, what="the restarted system")
        wait_for(lambda: "RUNNING" in types("blobkeep ctl status gc"), what="gc")
        types("blobkeep ctl restart gc")
        types("cat DIR/.gc.hold")
        wait_for(operator.is_well, what="the system")
    assert recipes() - operator.typed - NOT_RUN <= {MOVE, *UNDELETE, *LINKS, *WIDEN}
    assert live_blobs(str(operator.data.path)) == {"photos/cat.jpg": CAT, "other": b"newer"}


UNDELETE = (
    "blobkeep undelete photos/cat.jpg --list",
    "blobkeep undelete photos/cat.jpg",
    "curl 'localhost:7777/blobs/?state=Failure'",
    "curl localhost:7777/blobs/13342/data",
    "curl -X POST localhost:7777/blobs/13342/undelete",
)
WIDEN = ("blobkeep ctl stop all", "blobkeep widen")
MOVE = "rsync -a OLD/ NEW/"


def test_what_was_deleted_comes_back_ids_become_wider_and_the_directory_moves(operator: Operator) -> None:
    """Each as the page says, and all on one directory, since a system takes seconds to start."""
    operator.env |= {"BLOBKEEP_KEEP_DELETED": "7d", "BLOBKEEP_LOG_FORMAT": "json"}
    with operator.serving():
        assert operator.ask("POST", "/store/photos/cat.jpg", CAT)[0] == 201
        operator.placed["13342"] = operator.id_of("photos/cat.jpg")
        assert operator.ask("DELETE", "/store/photos/cat.jpg")[0] == 200
        listing, undelete, kept, data, over_http = UNDELETE
        assert operator.placed["13342"] in operator.types(listing)
        assert operator.placed["13342"] in operator.types(kept)
        assert operator.types(data) == CAT.decode()
        operator.types(undelete)
        assert operator.ask("GET", "/store/photos/cat.jpg") == (200, CAT)
        operator.placed["13342"] = operator.id_of("photos/cat.jpg")
        assert operator.ask("DELETE", "/store/photos/cat.jpg")[0] == 200
        operator.types(over_http)
        assert operator.ask("GET", "/store/photos/cat.jpg") == (200, CAT)
        for recipe in WIDEN:
            operator.types(recipe)
    operator.env["BLOBKEEP_ID_BITS"] = "32"
    need("rsync")
    operator.types(MOVE)
    operator.env["BLOBKEEP_DIR"] = str(operator.elsewhere / "new")
    with operator.serving():
        assert operator.ask("GET", "/store/photos/cat.jpg") == (200, CAT)
        assert "All is well." in operator.types("blobkeep check")
    told = [json.loads(line) for line in (operator.elsewhere / "log").read_text().splitlines()]
    assert {line["process"] for line in told} >= {"serve", "supervisord", "server", "recovery"}


LINKS = (
    "blobkeep link photos/cat.jpg --for 7d",
    'curl -O "$(blobkeep link photos/cat.jpg --for 1h)"',
    'curl -T report.pdf "$(blobkeep link inbox/report.pdf --for 12h --put)"',
)


def test_one_blob_is_given_away_as_the_page_says(operator: Operator) -> None:
    access = operator.elsewhere / "access.toml"
    operator.env["BLOBKEEP_AUTH_FILE"] = str(access)
    add = [sys.executable, "-m", "services.tools", "access", "add", "ann"]
    token = subprocess.run(add, cwd=ROOT, env=operator.env, capture_output=True, text=True, check=True)
    operator.headers = {"Authorization": f"Bearer {token.stdout.strip()}"}
    (operator.home / "report.pdf").write_bytes(b"%PDF")
    with operator.serving():
        assert operator.ask("POST", "/store/photos/cat.jpg", CAT)[0] == 201
        link, fetched, sent = LINKS
        assert f"http://127.0.0.1:{operator.port}/store/photos/cat.jpg?expires=" in operator.types(link)
        operator.types(fetched)
        (got,) = operator.home.glob("cat.jpg*")
        assert got.read_bytes() == CAT
        operator.types(sent)
        assert operator.ask("GET", "/store/inbox/report.pdf") == (200, b"%PDF")
