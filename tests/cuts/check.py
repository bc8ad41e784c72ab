"""Starts the product on a disk that a power cut left, and says what is wrong with the result."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock
from urllib.parse import quote

from common import checksum
from services.engines.local.disk import directory, layout, locks
from services.engines.local.disk.layout import Layout
from services.engines.local.journal import format as journal
from services.engines.local.recovery import reconcile, restart
from services.engines.local.upkeep.collector import Collector
from tests.cuts.cuts import digest, one_image
from tests.cuts.disk import Disk, Image
from tests.cuts.recorder import ListLog, Op, recording
from tests.cuts.session import ANYTHING, DAMAGED, Expected, Value
from tests.support import index_states
from tests.support.processes import Process, Server
from tests.support.rules import broken_rules, layout_of
from tests.support.same_disk import SAME

Values = dict[str, Value]


@dataclass
class Checker:
    """Checks disks in `folder`, on a fast file system. `rotten`: blobs were damaged on purpose.
    `second_cuts`: for each disk, how many disks after a second cut during recovery are checked.
    """

    folder: Path
    rng: random.Random
    rotten: bool = False
    second_cuts: int = 0
    checked: int = 0
    by_index: int = 0  # starts that used an index
    old: Image = field(default_factory=dict)  # the index of an earlier disk
    seen: set[bytes] = field(default_factory=set)  # digests of what was checked, with what was expected

    def is_new(self, image: Image, expected: Expected) -> bool:
        """False for a disk that was checked before with the same expectations."""
        wanted = repr(sorted((at, sorted(map(repr, values))) for at, values in expected.possible.items()))
        key = digest(image) + wanted.encode()
        if key in self.seen:
            return False
        self.seen.add(key)
        return True

    def check(self, image: Image, expected: Expected) -> list[str]:
        """What is wrong, a sentence each."""
        self.checked += 1
        possible = dict(expected.possible)
        root = self._build(image)
        if self._put_index_into_a_state(root, is_recorded=True):
            image = read_image(root.parent)
        log = _Interrupted(self.rng.choice((0, 1, self.rng.randint(2, 60))), lambda: _gc_pass(root))
        with _booted(2), recording(log):
            values, wrong = self._recover(root)
        served_at = len(log.ops)
        wrong += _compare("after the cut", values, possible)
        exactly = {at: frozenset({values.get(at)}) for at in possible}
        with _booted(2), recording(log):
            wrong += broken_rules(str(root), rotten=self.rotten)
        for boot, when in ((2, "after a gc pass"), (3, "after a second restart")):
            self._put_index_into_a_state(root)
            with _booted(boot):
                again, more = self._recover(root)
                wrong += more + _compare(when, again, exactly)
        if self.second_cuts and not wrong:
            wrong += self._cut_again(image, log, served_at, expected, exactly)
        return wrong

    def check_by_server(self, image: Image, expected: Expected) -> list[str]:
        """The same with a real server. A gc is started before it."""
        root = self._build(image)
        directory.make_root(str(root))
        width = str(layout_of(str(root)).id_bits)
        gc = Process("gc", root, "--gc-interval", "0.01", "--id-bits", width)
        server = Server(root, "--id-bits", width)
        try:
            values = {at: _served(server, at) for at in expected.possible}
        finally:
            server.end()
            gc.end()
        return _compare("as served", values, expected.possible)

    def _build(self, image: Image) -> Path:
        top = self.folder / "disk"
        shutil.rmtree(top, ignore_errors=True)
        write_image(image, top)
        return top / "data"

    def _put_index_into_a_state(self, root: Path, *, is_recorded: bool = False) -> bool:
        """Of two starts, one finds the index as it was left, the other in another state. True: that one.

        `is_recorded`: it is as the cut left it, not as a start of ours did, on a disk that is no more: so it
        may be the old one of a later disk.
        """
        home = root / layout.INDEX_NAME
        if not home.is_dir():
            return False
        now = {name: content for name, content in read_image(home).items() if content is not None}
        state = self.rng.choice(["", "", "", "", *index_states.STATES])
        if state == "old":
            shutil.rmtree(home)
            write_image(self.old, home)
        elif state:
            index_states.put_into(layout_of(str(root)), f"index {state}")
        if is_recorded and self.rng.random() < 0.3:
            self.old = dict(now)
        return bool(state)

    def _recover(self, root: Path) -> tuple[Values, list[str]]:
        """What a starting server finds: (by location what it serves, what is wrong)."""
        directory.make_root(str(root))
        data_dir = layout_of(str(root))
        with locks.StateLock(str(root), "test") as held:
            held.acquire(10.0)
            data_dir = directory.open_directory(str(root), data_dir.id_bits, owner=True)
            if os.path.exists(data_dir.ours(layout.INDEX_NAME)):
                with mock.patch.object(restart, "stamp_of", return_value=SAME):
                    found = restart.restart(data_dir, held)[0]
            else:
                found = reconcile.reconcile(data_dir)
        self.by_index += found.by_index
        values: Values = dict.fromkeys(found.damaged, DAMAGED)
        for at, blob in found.live.items():
            data = Path(data_dir.data(blob.id)).read_bytes()
            good = (blob.sha256, blob.crcs) == checksum.sums_of(data)
            values[at] = data if good else DAMAGED
        wrong = [f"foreign: {name}" for name in found.foreign]
        if not self.rotten:
            wrong += [f"blob {blob_id} was quarantined: {why}" for blob_id, why in found.quarantined]
        return values, wrong

    def _cut_again(
        self,
        image: Image,
        log: ListLog,
        served_at: int,
        expected: Expected,
        exactly: dict[str, frozenset[Value]],
    ) -> list[str]:
        """The power fails again while, or after, the disk `image` is recovered."""
        wrong: list[str] = []
        moments = sorted(self.rng.randrange(len(log.ops) + 1) for _ in range(self.second_cuts))
        disk = Disk(str(self.folder / "disk"))
        disk.start_with(image)
        done = 0
        images = []
        for moment in moments:
            for op in log.ops[done:moment]:
                disk.apply(op)
            done = moment
            second = one_image(disk, self.rng)[1]
            if self.is_new(second, expected if moment < served_at else Expected(exactly)):
                images.append((moment, second))
        for moment, second in images:
            root = self._build(second)
            with _booted(4):
                values, more = self._recover(root)
            wanted = expected.possible if moment < served_at else exactly
            more += _compare("after the second cut", values, wanted)
            with _booted(4):
                more += broken_rules(str(root), rotten=self.rotten)
            self.checked += 1
            wrong += [f"cut again at {moment} of {len(log.ops)} ({served_at}): {text}" for text in more]
        return wrong


class _Interrupted(ListLog):
    """Does something in the middle, before entry number `at`, counted from 1; 0: never."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        super().__init__()
        self._at = at
        self._act = act

    def put(self, op: Op) -> None:
        super().put(op)
        if len(self.ops) == self._at:
            self._act()


def _served(server: Server, location: str) -> Value:
    answer = server.ask("GET", f"/store/{quote(location)}")
    return {404: None, 500: DAMAGED}.get(answer.status, answer.body)


def write_image(image: Image, top: Path) -> None:
    """Make the folder `top` hold `image`."""
    top.mkdir(0o700, parents=True)
    for path, content in image.items():
        if content is None:
            os.mkdir(top / path, 0o700)
        else:
            fd = os.open(top / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(fd, content)
            os.close(fd)


def read_image(top: Path) -> Image:
    """What the folder `top` holds: see `write_image`."""
    image: Image = {}
    for path in sorted(top.rglob("*")):
        image[str(path.relative_to(top))] = None if path.is_dir() else path.read_bytes()
    return image


def _compare(when: str, values: Values, possible: dict[str, frozenset[Value]]) -> list[str]:
    wrong = []
    for at in sorted(possible.keys() | values.keys()):
        wanted = possible.get(at, frozenset({None}))
        if {values.get(at), ANYTHING}.isdisjoint(wanted):
            may = " or ".join(sorted(map(_short, wanted)))
            wrong.append(f"{when}: {at} is {_short(values.get(at))} instead of {may}")
    return wrong


def _short(value: Value) -> str:
    return "nothing" if value is None else f"{value[:12]!r} ({len(value)} bytes)"


@contextlib.contextmanager
def _booted(number: int) -> Iterator[None]:
    """Pretend that the system was booted since, for the time `number`."""
    with mock.patch.object(journal, "boot_id", return_value=bytes([number]) * 16):
        yield


def _gc_pass(root: Path) -> None:
    if root.is_dir():
        data_dir: Layout = layout_of(str(root))
        gc = Collector(data_dir, 5.0, slice_folders=1 << 32)
        gc.run_once()
        gc.close()
