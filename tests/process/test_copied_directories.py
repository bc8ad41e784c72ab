"""A directory with an index that was copied, restored, moved, or changed by hand while no server ran.

A real server with the index then comes to the answers of a server without one: at once where its stamp or the
names show the change, and otherwise when the comparison behind the start is over. Until then it may answer
what it answered before the change, or an error, and nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from common.states import State
from services.engines.local.disk import blob_folder, directory, layout, record
from services.engines.local.disk.layout import Layout
from tests.http.pages import page
from tests.support.campaign import choose
from tests.support.processes import Server, wait_for
from tests.support.tools import tool

LOCATIONS = ("a", "b", "c", "d", "p/e", "p/f", "new")
Answers = dict[str, tuple[int, bytes]]


@dataclass
class Case:
    """What a server left in `root`; `live`: the id of each blob. In `earlier` is what the one before left."""

    root: Path
    earlier: Path
    data_dir: Layout
    live: dict[str, int]

    def folder(self, location: str) -> Path:
        return Path(self.data_dir.folder(self.live[location]))

    def free_folder(self) -> Path:
        beside = self.folder("a")
        return next(path for n in range(9) if not (path := beside.with_name(str(n))).exists())


Change = Callable[[Case], Path]  # gives where the directory is afterwards


def copy(root: Path, target: Path) -> None:
    """All but sockets."""
    shutil.copytree(root, target, ignore=shutil.ignore_patterns("*.sock"))


# --- it is another directory now ---


def copied(case: Case) -> Path:
    """cp -a"""
    subprocess.run(["cp", "-a", str(case.root), f"{case.root}.copy"], check=True)
    return Path(f"{case.root}.copy")


def copied_back(case: Case) -> Path:
    """The copy takes the place of the original."""
    copied(case)
    shutil.rmtree(case.root)
    return Path(f"{case.root}.copy").rename(case.root)


def moved(case: Case) -> Path:
    """mv: it is still the same."""
    return case.root.rename(f"{case.root}.moved")


def untarred(case: Case) -> Path:
    """A backup by tar."""
    target = Path(f"{case.root}.untarred")
    with tarfile.open(f"{case.root}.tar", "w") as tar:
        tar.add(case.root, target.name)
    with tarfile.open(f"{case.root}.tar") as tar:
        tar.extractall(case.root.parent, filter="fully_trusted")
    return target


def exported(case: Case) -> Path:
    """The project's own backup, unpacked over the directory, whose index stays."""
    ran = tool("export", f"{case.root}.tar", "--dir", case.root)
    assert ran.status == 0, ran
    for path in case.root.iterdir():
        if layout.parse_id(path.name) is not None:
            shutil.rmtree(path)
    with tarfile.open(f"{case.root}.tar") as tar:
        tar.extractall(case.root, filter="fully_trusted")
    return case.root


# --- a part of it is older ---


def older_index(case: Case) -> Path:
    """An old copy of the index beside newer folders."""
    shutil.rmtree(case.root / layout.INDEX_NAME)
    shutil.copytree(case.earlier / layout.INDEX_NAME, case.root / layout.INDEX_NAME)
    return case.root


def older_folders(case: Case) -> Path:
    """The other way round: older folders and journal; lock, index and the folder DIR itself stay."""
    for path in case.root.iterdir():
        if layout.parse_id(path.name) is not None:
            shutil.rmtree(path)
    for path in case.earlier.iterdir():
        if layout.parse_id(path.name) is not None:
            shutil.copytree(path, case.root / path.name)
        elif path.name.startswith(layout.JOURNAL_NAME):
            shutil.copy2(path, case.root / path.name)
    return case.root


def older_states(case: Case) -> Path:
    """Files are restored one by one into the folders that are there: no name changes, and no stamp does."""
    for path in case.earlier.rglob(layout.STATE_NAME):
        if not path.relative_to(case.earlier).parts[0].startswith("."):
            there = case.root / path.relative_to(case.earlier)
            if there.parent.is_dir():
                there.write_bytes(path.read_bytes())
    return case.root


# --- somebody changed one blob ---


def folder_removed(case: Case) -> Path:
    shutil.rmtree(case.folder("a"))
    return case.root


def folder_added(case: Case) -> Path:
    """A copy of one under another name."""
    target = case.free_folder()
    shutil.copytree(case.folder("a"), target)
    _write_state(target, "new", 1000)
    return case.root


def folders_exchanged(case: Case) -> Path:
    """Neither name is new. Each state has the other's id."""
    one, two = case.folder("a"), case.folder("c")
    three = one.with_name("three")
    one.rename(three)
    two.rename(one)
    three.rename(two)
    return case.root


def state_edited(case: Case) -> Path:
    """Its location is another one, with a right checksum."""
    _write_state(case.folder("a"), "new", 1000)
    return case.root


def state_broken(case: Case) -> Path:
    """A bit of each copy of the location: no start without an index knows it."""
    state = case.folder("a") / layout.STATE_NAME
    content = bytearray(state.read_bytes())
    content[40] ^= 1
    _keeping_times(state, bytes(content))
    return case.root


def failed_by_hand(case: Case) -> Path:
    found = blob_folder.read_record(case.data_dir, case.live["a"])
    blob_folder.fail(case.data_dir, found, "by hand", 1)
    return case.root


def data_replaced(case: Case) -> Path:
    """Of the same size and modification time."""
    data = case.folder("a") / layout.DATA_NAME
    _keeping_times(data, bytes(data.stat().st_size))
    return case.root


def data_cut(case: Case) -> Path:
    os.truncate(case.folder("a") / layout.DATA_NAME, 3)
    return case.root


def data_removed(case: Case) -> Path:
    (case.folder("a") / layout.DATA_NAME).unlink()
    return case.root


def _write_state(folder: Path, location: str, later: int) -> None:
    found = blob_folder.read_record_in(str(folder), None)
    number = int(folder.name) | (int(folder.parent.name) << 16 if folder.parent.name.isdigit() else 0)
    new = msgspec.structs.replace(found, id=number, location=location, seq=found.seq + later)
    (folder / layout.STATE_NAME).write_bytes(record.dump(new))


def _keeping_times(path: Path, content: bytes) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


# Whether the start itself shows it, so that no answer of before is given.
CHANGES: dict[Change, bool] = {
    copied: True,
    copied_back: True,
    moved: True,
    untarred: True,
    exported: True,
    older_index: True,
    older_folders: False,
    older_states: False,
    folder_removed: True,
    folder_added: True,
    folders_exchanged: False,
    state_edited: False,
    state_broken: False,
    failed_by_hand: False,
    data_replaced: False,
    data_cut: False,
    data_removed: False,
}
NO_INDEX_FOR = {copied, copied_back, untarred, exported, older_index}  # of these every folder is read
# A right index still knows of a blob whose state is lost, which a start without one calls missing.
KNOWN_FROM_THE_INDEX: dict[Change, Answers] = {
    state_broken: {"a": (200, b"a2")},
    folders_exchanged: {"a": (500, b""), "c": (500, b"")},
}
RUNGS = [
    (change, stopped, id_bits) for change in CHANGES for stopped in (True, False) for id_bits in (16, 32)
]


def rungs() -> list[tuple[Change, bool, int]]:
    """Each change once, in another way each time; all of them for size 0."""
    chosen = [choose(change.__name__, [rung for rung in RUNGS if rung[0] is change], 1) for change in CHANGES]
    return [rung for some in chosen for rung in some]


def name_of(rung: tuple[Change, bool, int]) -> str:
    change, stopped, id_bits = rung
    return f"{change.__name__}-{'stopped' if stopped else 'killed'}-{id_bits}"


@pytest.fixture
def servers() -> Iterator[Callable[..., Server]]:
    """Starts real servers on any directory. They end with the test."""
    started: list[Server] = []

    def start(root: Path, *flags: str) -> Server:
        started.append(Server(root, *flags))
        return started[-1]

    yield start
    for server in started:
        server.end()


@pytest.mark.parametrize("rung", rungs(), ids=name_of)
def test_a_server_with_an_index_comes_to_the_answers_of_one_without(
    tmp_path: Path, servers: Callable[..., Server], rung: tuple[Change, bool, int]
) -> None:
    change, stopped, id_bits = rung
    width = ("--id-bits", str(id_bits))
    case = filled(tmp_path, servers, stopped, width)
    root = change(case)
    before = dict.fromkeys(LOCATIONS, (404, b"")) | {
        "a": (200, b"a2"),
        "c": (200, b"c"),
        "d": (200, b"d"),
        "p/e": (200, b"e"),
        "p/f": (200, b"f"),
    }
    full = tmp_path / "full"
    copy(root, full)
    wanted = answers(servers(full, *width))
    for location, answer in KNOWN_FROM_THE_INDEX.get(change, {}).items():
        if wanted[location][0] == 404:
            wanted[location] = answer

    server = servers(root, "--index", *width)
    first = answers(server)
    if CHANGES[change]:
        assert first == wanted
    for location in LOCATIONS:
        answer = first[location]
        assert answer in (wanted[location], before[location]) or answer[0] in (500, 503), location
    wait_for(lambda: answers(server) == wanted, what=f"the settling of {answers(server)}, not {wanted}")
    by_index = "started with the index" in server.said()
    has_older_journal = (
        change is older_folders and stopped
    )  # not if the newer server was killed: it is the same
    assert by_index == (change not in NO_INDEX_FOR and not has_older_journal)
    if by_index:
        wait_for(lambda: "every blob is what the index said" in server.said(), what="the end of it")
    assert answers(server) == wanted
    server.kill()
    server.restart()
    assert answers(server) == wanted, "after a kill"


def answers(server: Server) -> Answers:
    """What each location answers, and that the listing has those that answer 200, and no other."""
    found: Answers = {}
    for location in LOCATIONS:
        answer = server.ask("GET", f"/store/{location}")
        found[location] = (answer.status, answer.body if answer.status == 200 else b"")
    listed = {blob["location"] for blob in page(server, "/store/")["blobs"]}
    served = {location for location, (status, _) in found.items() if status == 200}
    return found | {"listed": (len(listed ^ served), b"")}


def filled(tmp_path: Path, servers: Callable[..., Server], stopped: bool, width: tuple[str, str]) -> Case:
    """Two servers have written. What the first left is kept."""
    root, earlier = tmp_path / "data", tmp_path / "earlier"
    server = servers(root, "--index", *width)
    for location in ("a", "b", "c", "p/e"):
        assert server.ask("POST", f"/store/{location}", location[-1:].encode()).status == 201
    assert server.stop() == 0
    copy(root, earlier)
    server.restart()
    assert server.ask("PUT", "/store/a", b"a2").status == 200
    assert server.ask("DELETE", "/store/b").status == 200
    for location in ("d", "p/f"):
        assert server.ask("POST", f"/store/{location}", location[-1:].encode()).status == 201
    if stopped:
        assert server.stop() == 0
    else:
        server.kill()
    data_dir = Layout(str(root), int(width[1]))
    records = [blob_folder.read_record(data_dir, blob_id) for blob_id in directory.ids_in(data_dir)]
    live = {found.location: found.id for found in records if found.state is State.COMPLETE}
    return Case(root, earlier, data_dir, live)
