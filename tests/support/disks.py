"""Small file systems of a test: in memory, or in an image on a loop device. Only root may mount them."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def tmpfs(path: Path, size: str = "16m", *, inodes: int = 0) -> Iterator[Path]:
    """A file system in memory, mounted on the folder `path`. `inodes` 0: as many as the kernel gives."""
    limit = f",nr_inodes={inodes}" if inodes else ""
    with _mounted(path, ["-t", "tmpfs", "-o", f"size={size}{limit}", "tmpfs"]):
        yield path


@contextlib.contextmanager
def ext4(path: Path, size: str = "64M", *, inodes: int = 0) -> Iterator[Path]:
    """ext4 in an image beside the folder `path`, mounted on that."""
    image = path.with_name(path.name + ".img")
    with image.open("wb") as file:
        file.truncate(int(size.removesuffix("M")) << 20)
    count = ["-N", str(inodes)] if inodes else []
    try:
        made = subprocess.run(["mkfs.ext4", "-q", *count, str(image)], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("mkfs.ext4 is not there")
    if made.returncode != 0:
        pytest.skip(f"no ext4: {made.stderr.decode()}")
    with _mounted(path, ["-o", "loop", str(image)]):
        yield path


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
