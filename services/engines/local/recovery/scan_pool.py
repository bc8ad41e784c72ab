"""Reads many blobs of a directory with the help of other processes, if there are more cores.

The helpers (`scan_worker`) only read. They get slices of ids, and return the plain blobs. All decisions are
made here, in the order of the ids. Nothing waits for a helper: what it does not answer in time, or answers
wrongly, is read here. Helpers hold no lock: they are new programs, which inherit only two pipes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from sys import intern

import msgspec

from common.process import python_program, usable_cpus
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.recovery.scan import Scanned
from services.engines.local.recovery.scan_slices import SLICE_BLOBS, SliceScan
from services.engines.local.recovery.scan_worker import ID_TYPE, LENGTH, decode

log = logging.getLogger(__name__)

# A helper is ready 65 ms after its start; this process reads 5,000 blobs meanwhile.
WORTH_FROM_BLOBS = 10_000
_MOST = 3
_ASKED_AHEAD = 2  # slices: one that is being read, and the next
# At most so many slices are read ahead, which limits the blobs that are held beside the index.
_AHEAD = 32
_LONGEST_ANSWER_BYTES = 4 << 20  # a slice of states that are read in one go
_PIPE_BYTES = 64 << 10  # what a pipe holds
_END_S = 1.0


def how_many(blobs: int) -> int:
    """How many helpers to start for so many blobs."""
    return min(_MOST, usable_cpus() - 1) if blobs >= WORTH_FROM_BLOBS else 0


class ScanPool:
    """Reads the blobs `ids`, with the help of `count` processes. For a `with` statement, which ends them.

    Raises OSError where DIR cannot be opened.
    """

    def __init__(self, data_dir: Layout, ids: Sequence[int], count: int) -> None:
        self._slices = [ids[at : at + SLICE_BLOBS] for at in range(0, len(ids), SLICE_BLOBS)]
        self.own = SliceScan(data_dir)
        self.helped = 0  # slices that others read for us
        self._given = 0  # slices that were given out
        self._begun = 0  # slices that somebody reads, or has read
        self._ready: dict[int, list[Scanned]] = {}  # slices that were read, and not given out yet
        self._readers: list[_ScanHelper] = []
        with contextlib.suppress(OSError):  # no memory, no processes left: then without
            for _ in range(count):
                self._readers.append(_ScanHelper(data_dir))

    def slices(self) -> Iterator[tuple[Sequence[int], list[Scanned]]]:
        """Each slice of the ids in turn, with what each id has: see SliceScan.read."""
        for number, ids in enumerate(self._slices):
            self._given = number
            self._listen()
            while number not in self._ready:
                # If a helper has this slice and is late, read the next one, or if there is none, this one.
                mine = self._begun if self._begun == number or self._may_begin() else number
                self._begun = max(self._begun, mine + 1)
                self._ready[mine] = self.own.read(self._slices[mine])
                self._listen()
            yield ids, self._ready.pop(number)

    def _may_begin(self) -> bool:
        return self._begun < min(len(self._slices), self._given + _AHEAD)

    def _listen(self) -> None:
        """Take what the helpers have answered, and ask them for more."""
        for reader in list(self._readers):
            try:
                for number, payload in reader.answers():
                    if number >= self._given and number not in self._ready:
                        self._ready[number] = _unpacked(payload, self._slices[number])
                        self.helped += 1
                while reader.is_there and len(reader.asked) < _ASKED_AHEAD and self._may_begin():
                    reader.ask(self._begun, self._slices[self._begun])
                    self._begun += 1
            except (OSError, ValueError, msgspec.MsgspecError) as err:
                log.warning("a process that helped to read is given up: %s", err)
                self._readers.remove(reader)
                reader.end()

    def __enter__(self) -> ScanPool:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers:
            reader.end()
        self.own.__exit__()


def _unpacked(payload: bytes, ids: Sequence[int]) -> list[Scanned]:
    """The blobs of an answer. Costs 1 µs a blob. Raises ValueError, MsgspecError for a wrong answer."""
    blobs = decode(payload)
    if len(blobs) != len(ids):
        raise ValueError(f"it answered {len(blobs)} blobs instead of {len(ids)}")
    for at, blob in enumerate(blobs):
        if isinstance(blob, Blob):
            if blob.id != ids[at] or len(blob.packed) < 48:
                raise ValueError("it answered what is no blob, or another")
            # Interned, as `parse` does, or each blob would hold a type of its own.
            blobs[at] = Blob(
                blob.location, blob.id, blob.size, intern(blob.type), intern(blob.encoding), blob.packed
            )
    return blobs


class _ScanHelper:
    """One helper. Methods raise OSError, ValueError if it cannot be used, or no longer."""

    def __init__(self, data_dir: Layout) -> None:
        command, environment = python_program(
            "services.engines.local.recovery.scan_worker", data_dir.root, str(data_dir.id_bits)
        )
        self.process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._to, self._from = self.process.stdin, self.process.stdout
        os.set_blocking(self._from.fileno(), False)
        self._received = bytearray()
        self.is_there = False
        self.asked: deque[int] = deque()  # slices that it has not answered yet, in turn

    def ask(self, number: int, ids: Sequence[int]) -> None:
        """Ask it for slice `number`. Never waits: what it is asked for at a time fits into the pipe."""
        packed = array(ID_TYPE, ids).tobytes()
        self._to.write(LENGTH.pack(len(packed)) + packed)
        self.asked.append(number)

    def answers(self) -> Iterator[tuple[int, bytes]]:
        """What has come since the last time: (slice, payload)."""
        received = self._received
        part = self._from.read(_PIPE_BYTES)
        if part == b"":
            raise ValueError("it has ended")
        received += part or b""  # None: nothing has come
        while len(received) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(received)[0]
            if end > _LONGEST_ANSWER_BYTES:
                raise ValueError("its answer is too long")
            if len(received) < end:
                return
            payload = bytes(received[LENGTH.size : end])
            del received[:end]
            if not self.is_there:
                self.is_there = True
            elif self.asked:
                yield self.asked.popleft(), payload
            else:
                raise ValueError("it answered what it was not asked")

    def end(self) -> None:
        """Kill it; it has nothing to lose."""
        self._to.close()
        self._from.close()
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that waits for a disk dies later
            self.process.wait(_END_S)
