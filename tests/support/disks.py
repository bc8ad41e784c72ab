"""Small file systems of a test: in memory, or in an image on a loop device. Only root may mount them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import need


@contextlib.contextmanager
def tmpfs(path: Path, *, inodes: int = 0) -> Iterator[Path]:
    """16 MiB in memory, mounted on the folder `path`. `inodes` 0: as many as the kernel gives."""
    limit = f",nr_inodes={inodes}" if inodes else ""
    with _mounted(path, ["-t", "tmpfs", "-o", f"size=16m{limit}", "tmpfs"]):
        yield path


@contextlib.contextmanager
def ext4(path: Path, *, inodes: int) -> Iterator[Path]:
    """ext4 of 64 MiB in an image beside the folder `path`, mounted on that."""
    image = path.with_name(path.name + ".img")
    with image.open("wb") as file:
        file.truncate(64 << 20)
    make = [need("mkfs.ext4"), "-q", "-N", str(inodes), str(image)]
    made = subprocess.run(make, capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no ext4: {made.stderr.decode()}")
    with _mounted(path, ["-o", "loop", str(image)]):
        yield path


class Switch:
    """Makes a folder read-only, and writable again: by a mount, or by its mode if the process is not root."""

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self._kind = kind
        # Stands before a command, for which the folder is then read-only.
        self.through: tuple[str, ...] = ()
        if kind == "mode" and os.geteuid() == 0:
            if shutil.which("setpriv") is None:
                pytest.skip("setpriv is not there")
            drop = "-dac_override,-dac_read_search"
            self.through = ("setpriv", "--bounding-set", drop, "--inh-caps", drop)

    def turn(self, *, read_only: bool) -> None:
        if self._kind == "mode":
            self._path.chmod(0o500 if read_only else 0o700)
        else:
            way = "ro" if read_only else "rw"
            subprocess.run(["mount", "-o", f"remount,{way},bind", str(self._path)], check=True)


@contextlib.contextmanager
def read_only_folder(path: Path, kind: str) -> Iterator[Switch]:
    """Make the existing folder `path` read-only for processes that `through` starts, until it is switched or
    the context ends.

    `kind`: "mount", a read-only bind mount; "mode", its mode.
    """
    mount = _mounted(path, ["--bind", str(path)]) if kind == "mount" else contextlib.nullcontext()
    with mount:
        switch = Switch(path, kind)
        switch.turn(read_only=True)
        try:
            yield switch
        finally:
            switch.turn(read_only=False)


@contextlib.contextmanager
def _mounted(path: Path, options: list[str]) -> Iterator[None]:
    path.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", *options, str(path)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"file systems may not be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
