"""The limits of the machine: syncs of the disk, making the files of a create, sending a file to a socket."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from pathlib import Path

from bench.measure import MIB, Case, Values, p50_p99
from bench.peers import LOAD_CORE, SERVER_CORE

_RECORD_BYTES = 2200  # the size of a journal record of a create of 1 KiB


def _syncs(batch: int) -> Case:
    """fdatasync of a file whose blocks exist, as those of the journal do. This is the time of the disk
    alone.
    """

    def run(base: Path, seconds: float) -> Values:
        with tempfile.NamedTemporaryFile(dir=base) as file:
            fd = file.fileno()
            os.pwrite(fd, bytes(16 * MIB), 0)
            os.fsync(fd)
            record = os.urandom(_RECORD_BYTES * batch)
            times_us = []
            at = 4096
            stop = time.perf_counter() + seconds
            while (began := time.perf_counter()) < stop:
                os.pwrite(fd, record, at)
                os.fdatasync(fd)
                times_us.append((time.perf_counter() - began) * 1e6)
                at = at + len(record) if at + 2 * len(record) < 16 * MIB else 4096
        p50, p99 = p50_p99(times_us)
        return {"per_s": batch * len(times_us) / (sum(times_us) / 1e6), "p50_us": p50, "p99_us": p99}

    return Case(f"records made durable, {batch} at a time", "per_s", run)


def _files(batch: int) -> Case:
    """The disk work of a create: a folder, two files that are renamed into place, and one sync for each
    batch.
    """

    def run(base: Path, seconds: float) -> Values:
        body, state = os.urandom(1024), os.urandom(1100)
        folder = tempfile.mkdtemp(dir=base)
        count = 0
        with tempfile.NamedTemporaryFile(dir=base) as file:
            os.pwrite(file.fileno(), bytes(16 * MIB), 0)
            os.fsync(file.fileno())
            began = time.perf_counter()
            while time.perf_counter() < began + seconds:
                paths = [f"{folder}/{count + n}" for n in range(batch)]
                for path in paths:
                    os.mkdir(path)
                    for name, content in (("data", body), ("state", state)):
                        fd = os.open(f"{path}/{name}.tmp", os.O_WRONLY | os.O_CREAT)
                        os.write(fd, content)
                        os.close(fd)
                os.pwrite(file.fileno(), bytes(_RECORD_BYTES * batch), 4096)
                os.fdatasync(file.fileno())
                for path in paths:
                    os.rename(f"{path}/data.tmp", f"{path}/data")
                    os.rename(f"{path}/state.tmp", f"{path}/state")
                count += batch
            return {"per_s": count / (time.perf_counter() - began)}

    return Case(f"folders with two files, {batch} to a sync", "per_s", run)


def _sendfile(base: Path, seconds: float) -> Values:
    """Send a file of 64 MiB from the page cache to a socket, again and again."""
    with tempfile.NamedTemporaryFile(dir=base) as file:
        file.write(bytes(64 * MIB))
        file.flush()
        listener = socket.create_server(("127.0.0.1", 0))
        reader = socket.create_connection(listener.getsockname())
        writer, _ = listener.accept()

        def read() -> None:
            os.sched_setaffinity(threading.get_native_id(), {LOAD_CORE})
            buffer = bytearray(MIB)
            while reader.recv_into(buffer):
                pass

        thread = threading.Thread(target=read)
        thread.start()
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {SERVER_CORE})
        sent = 0
        cpu_began, began = time.thread_time(), time.perf_counter()
        while time.perf_counter() < began + seconds:
            at = 0
            while at < 64 * MIB:
                at += os.sendfile(writer.fileno(), file.fileno(), at, 64 * MIB - at)
            sent += 64
        took, cpu = time.perf_counter() - began, time.thread_time() - cpu_began
        os.sched_setaffinity(0, mine)
        writer.close()
        thread.join()
        reader.close()
        listener.close()
    return {"mib_per_s": sent / took, "cpu_us_per_mib": cpu * 1e6 / sent}


CASES = [
    *(_syncs(batch) for batch in (1, 16, 64)),
    *(_files(batch) for batch in (1, 16)),
    Case("sendfile of 64 MiB", "mib_per_s", _sendfile),
]
