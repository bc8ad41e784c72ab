"""Power cuts of a real block device: a server runs on ext4 or xfs in an image, which is copied at some moment
under load.

The image is a file on an xfs of its own, and a loop device passes each write of the file system in it on to
that file (direct I/O). A copy by reflink is atomic: it has every write that the device was given until then,
and nothing that was still in the kernel's memory. So it is like a device without a volatile cache at the
moment of a cut. The models of `cuts` cover a device that loses what it has not flushed. The copy is mounted,
so that the file system replays its journal, and a server is started on it.

If the outer xfs is full, the device fails each write to a block that it never wrote before. This is tested on
a device without a copy. With shared blocks a full xfs (Linux 6.18) acknowledges writes and syncs of the
device, but has zeros there, and no server could notice that. A program that only calls pwrite and fdatasync
loses as much.

`python -m tests.cuts.device --seed 1 --size 20` (make power-cuts DEVICE=1).
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import Server, wait_for
from tests.support.rules import DataDirectory

MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}
IMAGE_BYTES = 400 << 20  # the least that xfs takes is 300 MiB
WRITERS = 6
GONE = b""  # the value of a location without a blob
SIZES = [0, 10, 1000, 60_000, 400_000]


class NotHere(Exception):
    """This machine cannot do it; the text says why."""


def run_tool(*command: str | Path) -> str:
    """Run it. Gives what it printed. Raises NotHere."""
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as err:
        raise NotHere(f"{command[0]}: {getattr(err, 'stderr', '') or err}") from err
    return done.stdout.strip()


@contextlib.contextmanager
def mounted(image: Path, at: Path, kind: str, *, make: bool = False) -> Iterator[Path]:
    """The file system in `image`, mounted at the folder `at`."""
    at.mkdir(exist_ok=True)
    if make:
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES if image.name != "outer" else 8 * IMAGE_BYTES)
        run_tool(*MAKE[kind], image)
    # A copy shares its extents, so direct I/O would need larger sectors than on the original.
    direct = "off" if image.name.startswith("cut-") else "on"
    device = run_tool("losetup", "--find", "--show", f"--direct-io={direct}", image)
    try:
        # A copy has the same UUID as the original, and both may be mounted at once.
        run_tool("mount", "-t", kind, *(["-o", "nouuid"] if kind == "xfs" else []), device, at)
        try:
            yield at
        finally:
            subprocess.run(["umount", str(at)], check=True)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


class Writer(threading.Thread):
    """Writes one location, again and again. `values`: in order; the first is what was there."""

    def __init__(self, server: Server, location: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._server, self.location = server, location
        self._random = random.Random(f"{seed} {location}")
        self.values = [GONE]
        self.acknowledged = 0  # the number of the last acknowledged value
        self.stopping = False
        self.error = ""

    def run(self) -> None:
        try:
            for number in itertools.count(1):
                if self.stopping:
                    return
                old = self.values[-1]
                is_delete = old != GONE and self._random.random() < 0.2
                body = GONE if is_delete else b"%d " % number + bytes(self._random.choice(SIZES))
                self.values.append(body)
                method = "DELETE" if is_delete else "POST" if old == GONE else "PUT"
                answer = self._server.ask(method, f"/store/{self.location}", None if is_delete else body)
                assert answer.status in (200, 201), answer
                self.acknowledged = number
        except (AssertionError, OSError, http.client.HTTPException) as err:
            self.error = repr(err)

    def possible(self, from_number: int) -> list[bytes]:
        """The values that may be there if the cut came after value `from_number` was acknowledged."""
        return self.values[from_number:]


def cut(
    folder: Path, kind: str, seed: int, cuts: int, *, fails: bool = False, sync: str | None = None
) -> list[str]:
    """Cut the power `cuts` times under load. Gives what was wrong, one sentence each. Raises NotHere.

    `fails`: there is one cut, and before it writes of the device begin to fail. `sync`: as the option; None:
    by chance.
    """
    wrong: list[str] = []
    assert cuts == 1 or not fails
    if shutil.which("mkfs.xfs") is None:
        raise NotHere("mkfs.xfs is not installed")
    with (
        mounted(folder / "outer", folder / "images", "xfs", make=True) as images,
        mounted(images / "device", folder / "disk", kind, make=True) as disk,
    ):
        chance = random.Random(seed)
        server = Server(disk / "data", "--sync", sync or chance.choice(["journal", "folder"]))
        writers = [Writer(server, f"w/{n}", seed) for n in range(WRITERS)]
        try:
            for writer in writers:
                writer.start()
            copies = []
            for number in range(cuts):
                writes = chance.randrange(5, 60)  # so many more writes before the cut
                goal = sum(writer.acknowledged for writer in writers) + writes
                wait_for(
                    lambda goal=goal: (
                        sum(w.acknowledged for w in writers) >= goal  # type: ignore[misc]
                        or any(w.error for w in writers)
                    ),
                    what="writes",
                )
                if fails:
                    fill(images / "filler")
                    wait_for(lambda: any(w.error for w in writers), what="a write that fails")
                    for writer in writers:
                        writer.stopping = True
                        writer.join()
                    (images / "filler").unlink()
                before = [writer.acknowledged for writer in writers]
                run_tool("cp", "--reflink=always", images / "device", images / f"cut-{number}")
                copies.append(
                    (before, [writer.possible(n) for writer, n in zip(writers, before, strict=True)])
                )
            for writer in writers:
                writer.stopping = True
            for writer in writers:
                writer.join()
            wrong += [f"{w.location}: {w.error}" for w in writers if w.error and not fails]
        finally:
            server.end()
        for number, (before, possible) in enumerate(copies):
            with mounted(images / f"cut-{number}", folder / "after", kind) as after:
                wrong += [
                    f"cut {number}: {text}" for text in judge(after / "data", writers, before, possible)
                ]
    return wrong


def fill(path: Path) -> None:
    """Use all free blocks of the file system of `path`."""
    with path.open("wb") as file:
        at = 0
        for step in (64 << 20, 1 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    os.posix_fallocate(file.fileno(), at, step)
                    at += step


def judge(data: Path, writers: list[Writer], before: list[int], possible: list[list[bytes]]) -> list[str]:
    """Compare what a server on the copy serves with what was acknowledged, and then check the rules."""
    wrong = []
    server = Server(data)
    try:
        for writer, last, values in zip(writers, before, possible, strict=True):
            answer = server.ask("GET", f"/store/{writer.location}")
            found = answer.body if answer.status == 200 else GONE
            if answer.status not in (200, 404) or found not in values:
                wrong.append(
                    f"{writer.location}: {answer.status} {found[:20]!r} after value {last} was acknowledged"
                )
    finally:
        server.end()
    try:
        DataDirectory(data).check()
    except AssertionError as err:
        wrong.append(str(err))
    return wrong


def main() -> int:
    """Test both file systems. Gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=20, help="cuts of each file system")
    args = parser.parse_args()
    wrong = []
    for kind in MAKE:
        for run in range(-(-args.size // 10)):
            folder = Path(tempfile.mkdtemp(prefix="device-"))
            fails = run % 2 == 1
            found = cut(folder, kind, args.seed + run, 1 if fails else min(10, args.size), fails=fails)
            print(f"{kind} seed {args.seed + run}: {len(found)} wrong")  # noqa: T201
            print(*found, sep="\n")  # noqa: T201
            wrong += found
            if not found:
                shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
