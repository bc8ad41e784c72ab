"""Records go past the page cache, in whole blocks, and leave what stands before and behind them as it is."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from common import durable
from common.errors import SyncFailed
from services.engines.local.journal import record_writer
from services.engines.local.journal.record_writer import BLOCK_BYTES, RecordWriter

FILE_BYTES = 4 << 20
# Within a block, to its end, across some, larger than the memory that is kept; then on from there.
SIZES = (8, 4088, 16, 4080, 4096, 10_000, 3 << 20, 24, 70_000)


class Written:
    """A file of zeros, its writer, and what was appended."""

    def __init__(self, path: Path, size_bytes: int = FILE_BYTES) -> None:
        self.path = path
        path.write_bytes(bytes(size_bytes))
        self.fd = durable.open_in_place(str(path))
        os.fsync(self.fd)
        self.writer = RecordWriter(str(path), self.fd)
        self.content = bytes(size_bytes)
        self.end = BLOCK_BYTES

    def append(self, size_bytes: int) -> None:
        record = os.urandom(size_bytes)
        self.writer.append([record[:5], record[5:]], size_bytes, self.end)
        self.content = self.content[: self.end] + record + self.content[self.end + size_bytes :]
        self.end += size_bytes


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    made = Written(tmp_path / "journal")
    yield made
    made.writer.close()
    os.close(made.fd)


def test_all_that_was_appended_is_read(written: Written) -> None:
    for size_bytes in SIZES:
        written.append(size_bytes)
        assert written.path.read_bytes() == written.content


def test_where_it_cannot_be_opened_so_it_goes_through_the_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_writer, "open_past_cache", lambda path: -1)
    test_all_that_was_appended_is_read(Written(tmp_path / "journal"))


def test_where_it_cannot_be_written_so_it_goes_through_the_page_cache(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    written.append(100)
    really = durable.write_at

    def write_at(fd: int, data: memoryview, offset: int) -> None:
        if fd != written.fd:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        really(fd, data, offset)

    monkeypatch.setattr(durable, "write_at", write_at)
    for size_bytes in SIZES[:4]:
        written.append(size_bytes)
        assert written.path.read_bytes() == written.content


def test_a_file_of_an_odd_size_does_not_grow(tmp_path: Path) -> None:
    written = Written(tmp_path / "journal", BLOCK_BYTES + 3000)
    for _ in range(3):
        written.append(1000)
    assert written.path.read_bytes() == written.content


@pytest.mark.parametrize("size_bytes", [10, 9000])
def test_after_a_failed_sync_the_file_reads_as_before(
    written: Written, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    written.append(100)

    def fails(fd: int) -> None:
        raise SyncFailed("The disk failed.")

    with monkeypatch.context() as failing:
        failing.setattr(durable, "sync_file", fails)
        with pytest.raises(SyncFailed):
            written.append(size_bytes)
    assert written.path.read_bytes() == written.content


def test_a_batch_is_not_copied_into_the_page_cache(written: Written) -> None:
    past_cache_fd = record_writer.open_past_cache(str(written.path))
    if past_cache_fd < 0:
        pytest.skip("this file system writes through the page cache alone")
    os.close(past_cache_fd)
    written.append(1 << 20)
    os.posix_fadvise(written.fd, 0, 0, os.POSIX_FADV_RANDOM)  # else each look has what follows read ahead
    for at in range(written.end - (1 << 20), written.end, 1 << 16):
        with pytest.raises(BlockingIOError):
            os.preadv(written.fd, [bytearray(1)], at, os.RWF_NOWAIT)
