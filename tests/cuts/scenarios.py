"""The scenarios that are recorded: the product at work, in ways that leave different things on disk. Each is
a function of an empty folder and a seed, which gives the recording.
"""

from __future__ import annotations

import http.client
import os
from collections.abc import Callable
from pathlib import Path

from common import durable
from common.states import State
from services.engines.local.disk import layout, record
from tests.cuts.session import ANYTHING, DAMAGED, Recording, Session, copy_in
from tests.support.rules import live_blobs

GO_DATA = Path(__file__).parents[1] / "go-data"
_MIB = 1 << 20
_SMALL = (10, 100, 700)
_MIXED = (10, 700, 2500, 5000)  # above 1 KiB: staged


def small(folder: Path, seed: int) -> Recording:
    """Small bodies, group commits, ids that are soon used again. The journal turns all the time."""
    with Session(folder, seed, ids=8) as session:
        session.start_server()
        session.start("gc")
        session.clients(3, 12, _SMALL)
        session.stop(clean=session.rng.random() < 0.5)
        return session.finish()


def indexed(folder: Path, seed: int) -> Recording:
    """The same with an index on disk, which is written whenever the journal turns, and a kill in between."""
    with Session(folder, seed, ids=8, index="true") as session:
        session.start("gc")
        for _ in range(2):
            session.start_server(die_at=session.rng.randint(60, 300))
            session.clients(2, 8, _MIXED, deletes=0.6)
        session.start_server()
        session.read_all()
        session.clients(3, 10, _SMALL, deletes=0.6)
        session.stop(clean=session.rng.random() < 0.3)
        return session.finish()


def staged(folder: Path, seed: int) -> Recording:
    """Bodies on both sides of the limit, uploads that are cut, a stop and a start in between."""
    with Session(folder, seed, ids=8) as session:
        session.start_server()
        session.start("gc")
        session.clients(2, 8, _MIXED)
        _cut_upload(session, "0/0", 3000)
        assert session.server is not None
        assert session.server.stop() == 0
        session.start_server()
        session.read_all()
        session.clients(2, 6, _MIXED)
        session.stop(clean=False)
        return session.finish()


def _cut_upload(session: Session, location: str, size_bytes: int) -> None:
    """An update of which only a part arrives. Nothing of it may ever be seen."""
    assert session.server is not None
    connection = http.client.HTTPConnection("127.0.0.1", session.server.port, timeout=120)
    connection.putrequest("PUT", f"/store/{location}")
    connection.putheader("Content-Length", str(size_bytes))
    connection.endheaders()
    connection.send(b"x" * (size_bytes - 1))
    connection.close()


def by_folders(folder: Path, seed: int) -> Recording:
    """sync = "folder": the same without a journal."""
    with Session(folder, seed, ids=8, sync="folder") as session:
        session.start_server()
        session.start("gc")
        session.clients(3, 8, _MIXED)
        session.stop(clean=session.rng.random() < 0.5)
        return session.finish()


def wide(folder: Path, seed: int) -> Recording:
    """id_bits = 32."""
    with Session(folder, seed, ids=8, id_bits="32") as session:
        session.start_server()
        session.start("gc")
        session.clients(2, 8, _MIXED)
        session.stop(clean=False)
        return session.finish()


def killed(folder: Path, seed: int, sync: str = "journal") -> Recording:
    """The server dies at any of its disk operations and is started again. What is read after that must
    stay.
    """
    with Session(folder, seed, ids=8, sync=sync) as session:
        session.start("gc")
        for _ in range(3):
            session.start_server(die_at=session.rng.randint(10, 160))
            session.clients(2, 8, _MIXED)
            if session.rng.random() < 0.3:
                session.start("recovery", "--once").popen.wait(120)
        session.stop(clean=False)
        session.start("gc")
        session.start_server()
        session.read_all()
        session.stop(clean=False)
        return session.finish()


def killed_by_folders(folder: Path, seed: int) -> Recording:
    """The same with sync = "folder"."""
    return killed(folder, seed, sync="folder")


def switched(folder: Path, seed: int) -> Recording:
    """Servers that die. Each uses another `sync` than the one before."""
    with Session(folder, seed, ids=8) as session:
        session.start("gc")
        for sync in ("journal", "folder", "journal", "folder"):
            session.start_server(die_at=session.rng.randint(40, 200), sync=sync)
            session.clients(2, 8, _MIXED, deletes=0.6)
        session.stop(clean=False)
        return session.finish()


def traded(folder: Path, seed: int) -> Recording:
    """Every process is started again with sync = "none". What was durable before stays so."""
    with Session(folder, seed, ids=8) as session:
        for recovers, sync in ((0.0, "journal"), (0.5, "journal"), (0.5, "folder")):
            session.start_server(sync=sync)
            session.clients(2, 8, _MIXED)
            session.stop(clean=False)
            if session.rng.random() < recovers:  # it leaves the server nothing to replay
                session.start("recovery", "--once", sync="none").popen.wait(120)
            session.start("gc", sync="none")
            session.start_server(sync="none")
            assert session.server is not None
            session.closely.append(session.server.pid)
            session.read_all()
            session.stop(clean=session.rng.random() < 0.5)
        return session.finish()


def large_batches(folder: Path, seed: int) -> Recording:
    """Bodies that do not fit in the journal, between small ones: some commits go by folders."""
    with Session(folder, seed, ids=12, small_body="65536", id_bits="32") as session:
        session.start_server()
        session.start("gc")
        session.clients(4, 8, (10, 700, 9000), deletes=0.5)
        session.stop(clean=False)
        return session.finish()


def lent(folder: Path, seed: int) -> Recording:
    """Bodies and parts that are received into lent memory. Some of both go past the page cache."""
    with Session(
        folder,
        seed,
        ids=8,
        past_cache_bytes=_MIB + 9000,
        s3_path="/s3",
    ) as session:
        session.start_server()
        session.start("gc")
        session.clients(2, 3, (700, _MIB + 5000, _MIB + 20_000))
        session.write("POST", "bkt/1", session.body(10))  # without a blob there is no bucket
        session.upload_in_parts("bkt/0", session.body(5 * _MIB + 5000), 2 * _MIB)
        session.stop(clean=session.rng.random() < 0.5)
        return session.finish()


def undeleted(folder: Path, seed: int) -> Recording:
    """Deleted and replaced blobs are undeleted, while others write and the gc removes kept blobs."""
    sync = ("journal", "folder")[seed % 2]
    with Session(folder, seed, ids=40, keep_deleted="1h", sync=sync) as session:
        session.start_server(die_at=session.rng.choice((0, session.rng.randint(60, 300))))
        session.start("gc")
        for _ in range(4):
            session.clients(2, 4, _MIXED)
            session.undelete("0/0")
            session.undelete("1/1")
        session.stop(clean=session.rng.random() < 0.5)
        session.start("gc", keep_deleted="0")
        session.start_server()
        session.read_all()
        session.stop(clean=False)
        return session.finish()


def copied(folder: Path, seed: int, sync: str = "journal") -> Recording:
    """Copies and moves, of small and large bodies, and uploads in parts over S3."""
    with Session(folder, seed, ids=12, s3_path="/s3", sync=sync) as session:
        session.start_server()
        session.start("gc")
        rng, locations = session.rng, [f"bkt/{n}" for n in range(4)]
        for _ in range(14):
            source, target = rng.sample(locations, 2)
            if session.expected.at(source) == {None}:
                session.write("POST", source, session.body(rng.choice(_MIXED)))
            elif rng.random() < 0.3:
                session.upload_in_parts(source, session.body(rng.choice(_MIXED)))
            else:
                session.copy(source, target, move=rng.random() < 0.6)
        session.stop(clean=False)
        return session.finish()


def copied_by_folders(folder: Path, seed: int) -> Recording:
    """The same with sync = "folder"."""
    return copied(folder, seed, sync="folder")


def quarantined(folder: Path, seed: int) -> Recording:
    """Blobs become corrupt, are found and quarantined, and are written again or deleted."""
    with Session(folder, seed, ids=8) as session:
        session.start_server()
        session.start("gc")
        for location in ("rot/0", "rot/1", "rot/2"):
            session.write("POST", location, session.body(session.rng.choice((50, 3000))))
        for location in ("rot/0", "rot/1", "rot/2"):
            _rot(session, location)
            session.read(location)
        session.clients(1, 4, _SMALL)
        session.write("PUT", "rot/0", session.body(60))
        session.write("DELETE", "rot/1", None)
        session.write("DELETE", "rot/0", None)
        session.clients(1, 4, _SMALL)
        session.stop(clean=session.rng.random() < 0.5)
        return session.finish()


def _rot(session: Session, location: str) -> None:
    """Change a byte of its data, durably, as if the disk did it."""
    (folder,) = [
        path.parent
        for path in session.root.glob(f"*/{layout.STATE_NAME}")
        if _says(path, location) and path.parent.name.isdigit()
    ]

    def change() -> None:
        fd = durable.open_in_place(str(folder / layout.DATA_NAME))
        durable.write_at(fd, b"\xff", 5)
        durable.sync_file(fd)
        os.close(fd)

    session.mark("begin", location, DAMAGED)  # a journal that still covers it may repair it
    session.do_ourselves(change)


def _says(path: Path, location: str) -> bool:
    found = record.load(path.read_bytes())
    return found.location == location and found.state is State.COMPLETE


def original(folder: Path, seed: int) -> Recording:
    """A directory of the original server, copied without a sync. Once we have served a blob, it stays."""
    with Session(folder, seed, ids=0) as session:
        there = live_blobs(str(GO_DATA))
        for location in there:
            session.mark("begin", location, ANYTHING)
        session.do_ourselves(lambda: copy_in(GO_DATA, session.root))
        session.start_server()
        session.start("gc")
        for location in there:
            session.read(location)
        session.clients(2, 4, _SMALL)
        session.stop(clean=False)
        return session.finish()


SCENARIOS: dict[str, Callable[[Path, int], Recording]] = {
    scenario.__name__: scenario
    for scenario in (
        *(small, indexed, staged, by_folders, wide, killed, killed_by_folders, switched, traded),
        *(large_batches, lent, undeleted, copied, copied_by_folders, quarantined, original),
    )
}
