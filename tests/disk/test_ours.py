"""Reading a name of ours: if something foreign has that name, it is not followed, not waited for, and not
read without end.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from common import self_report
from common.errors import FOREIGN_ERRNOS, CorruptRecord
from common.ours import open_ours, read_ours
from services.engines.local.disk import blob_folder, directory, layout, record
from services.watch.processes import Processes
from tests.disk.test_reconcile import pending

LIMIT = 10_000
pytestmark = pytest.mark.timeout(60)  # a read that waits here waits for ever


def a_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_link_to_a_file(path: Path) -> None:
    path.symlink_to(__file__)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero: it never ends
    except PermissionError:
        pytest.skip("only root may make devices")


def a_sparse_file(path: Path) -> None:
    path.touch()
    os.truncate(path, 40 << 30)


FOREIGN: list[Callable[[Path], None]] = [
    *(a_link, a_link_to_a_file, a_pipe, a_folder, a_device, a_sparse_file)
]


def error_of(read: Callable[[], object]) -> int | None:
    try:
        read()
    except OSError as err:
        return err.errno
    return None


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 9999, LIMIT])
def test_a_file_up_to_the_limit_is_read_whole(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    assert read_ours(str(tmp_path / "file"), LIMIT) == content
    assert read_ours(str(tmp_path / "file"), size) == content
    os.close(open_ours(str(tmp_path / "file")))


@pytest.mark.parametrize("limit", [0, 100, 4095, 4096, LIMIT])
def test_a_longer_file_is_none_of_ours(tmp_path: Path, limit: int) -> None:
    (tmp_path / "file").write_bytes(bytes(limit + 1))
    assert error_of(lambda: read_ours(str(tmp_path / "file"), limit)) == errno.EFBIG


@pytest.mark.parametrize("change", FOREIGN)
def test_whatever_else_stands_there_is_told_at_once(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "file"
    change(path)
    before = len(os.listdir("/proc/self/fd"))
    reads: list[Callable[[], object]] = [lambda: read_ours(str(path), LIMIT)]
    if change is not a_sparse_file:
        reads.append(lambda: open_ours(str(path)))
    for read in reads:
        if change is a_pipe and read is reads[0]:
            assert read() == b""  # no writer: it is empty
            continue
        assert error_of(read) in FOREIGN_ERRNOS
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_pipe_whose_writer_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)  # it has a writer, so there is no end of file
    try:
        assert error_of(lambda: read_ours(str(path), LIMIT)) == errno.ENXIO
    finally:
        os.close(fd)


def test_the_state_of_a_large_blob_may_be_long_but_no_longer_than_its_data_tells(tmp_path: Path) -> None:
    data_dir = directory.open_directory(str(tmp_path / "data"), 16, owner=True)
    blob_folder.take(data_dir, 7)
    size = 500 << 30  # a sparse one: 500 GiB have 512,000 chunks
    chunks = size >> 20
    big = pending(7, "a", 1).completed(size, bytes(32), bytes(4 * chunks), 1)
    content = record.dump(big)
    assert len(content) > blob_folder.MAX_FILE_BYTES
    Path(data_dir.state(7)).write_bytes(content)
    Path(data_dir.data(7)).touch()
    with pytest.raises(CorruptRecord, match="more than"):
        blob_folder.read_record(data_dir, 7)
    os.truncate(data_dir.data(7), size)
    assert blob_folder.read_record(data_dir, 7) == big


@pytest.mark.parametrize("change", FOREIGN)
def test_a_self_report_that_is_something_else_hangs_neither_start_nor_metrics(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    data_dir = directory.open_directory(str(tmp_path / "data"), 16, owner=True)
    folder = data_dir.ours(layout.STATUS_NAME)
    self_report.begin(folder, "server", 1.0)
    for name in self_report.PROCESSES:
        path = Path(self_report.path_of(folder, name))
        path.unlink(missing_ok=True)
        change(path)
    processes = Processes(folder, self_report.PROCESSES)
    assert [one.state for one in processes.look(processes.reports())] == ["never"] * 3
    if change is not a_folder:  # it is written anew
        assert self_report.begin(folder, "server", 1.0).starts == 1
        assert self_report.read(folder, "server") is not None


@pytest.mark.parametrize(
    "content",
    [
        b'{"name":"gc","pid":%d,"start_ticks":1,"started_s":0.0,"interval_s":1.0}' % (1 << 70),
        b'{"name":"gc","pid":-1,"start_ticks":1,"started_s":0.0,"interval_s":1.0}',
        b'{"name":"gc","pid":1,"start_ticks":1,"started_s":0.0,"interval_s":1.0,"starts":%d}'
        % ((1 << 64) - 1),
        b"[" * 5000,
        b'{"a":' + b"[" * 5000,
        b"\xff",
    ],
)
def test_a_self_report_that_says_the_impossible_is_none(tmp_path: Path, content: bytes) -> None:
    data_dir = directory.open_directory(str(tmp_path / "data"), 16, owner=True)
    folder = data_dir.ours(layout.STATUS_NAME)
    self_report.begin(folder, "gc", 1.0)
    Path(self_report.path_of(folder, "gc")).write_bytes(content)
    assert self_report.read(folder, "gc") is None
    assert self_report.begin(folder, "gc", 1.0).starts == 1
