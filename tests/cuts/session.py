"""One recording: real, recorded processes on one directory, and clients that mark the answers they got.

Every location is written by one client at a time. So it must have the last acknowledged value, or that of the
one write without an answer. Clients write their marks into the processes' log: a cut after the mark "done"
may not lose the write.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import msgspec

from common import durable
from tests.cuts.disk import Disk, Image
from tests.cuts.recorder import Op, SharedLog, read_log, recording
from tests.support.processes import Answer, Process, Server

Value = bytes | None  # the value of a location; None: no blob
DAMAGED = b"\0damaged"  # in place of a value: a blob is there, but cannot be read
ANYTHING = b"\0anything"  # nobody has promised anything yet

_DONE = frozenset({200, 201})
_REFUSED = frozenset({404, 409, 412, 503, 507})  # nothing was changed


class Mark(msgspec.Struct, array_like=True):
    """A client's mark. `what`: "begin" of a write of `value`; its "done", "refused" or "unknown"; or
    "saw".
    """

    what: str
    location: str
    value: Value


class Expected:
    """What may be at each location, mark by mark."""

    def __init__(self, possible: dict[str, frozenset[Value]] | None = None) -> None:
        self.possible = possible or {}
        self._before: dict[str, frozenset[Value]] = {}

    def at(self, location: str) -> frozenset[Value]:
        """What may be there now."""
        return self.possible.get(location, frozenset({None}))

    def take(self, mark: Mark) -> None:
        """The next mark."""
        at = mark.location
        if mark.what == "begin":
            self._before[at] = self.at(at)
            self.possible[at] = self.at(at) | {mark.value}
        elif mark.what in ("done", "saw"):
            self.possible[at] = frozenset({mark.value})
        elif mark.what == "refused":
            self.possible[at] = self._before[at]


def _variables(options: dict[str, str]) -> dict[str, str]:
    """The environment that gives the product these options."""
    return {f"BLOBKEEP_{name.upper()}": value for name, value in options.items()}


class _Recorded(Process):
    def module(self) -> list[str]:
        return ["tests.cuts.recorded", self.program]


class _RecordedServer(Server):
    def module(self) -> list[str]:
        return ["tests.cuts.recorded", self.program]


_OPTIONS = {"gc_interval": "0.05", "small_body": "1024"}
_JOURNAL_BYTES = 12 << 10  # it turns all the time
UNDECLARED_BYTES = 4000
LENT_BYTES = 1 << 20  # a longer body is received into lent memory, if its length is declared


class Session:
    """`folder`: an empty one of our own, on a fast file system. `ids`: how many there are, 0 for all;
    `past_cache_bytes`: uploads of so many go past the page cache; `options`: of the product, by name.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        ids: int = 0,
        past_cache_bytes: int = 0,
        **options: str,
    ) -> None:
        self.top = folder / "disk"
        self.root = self.top / "data"
        self.top.mkdir(parents=True)
        self.rng = random.Random(seed)
        self._log_path = str(folder / "log")
        self.log = SharedLog(self._log_path)
        self.expected = Expected()
        self._guard = threading.Lock()
        self._env = _variables(_OPTIONS | options)
        self._env |= {"RECORD_LOG": self._log_path, "RECORD_IDS": str(ids)}
        self._env |= {"RECORD_PAST_CACHE_BYTES": str(past_cache_bytes)}
        self._env |= {"RECORD_JOURNAL_BYTES": str(_JOURNAL_BYTES), "RECORD_SYNC_S": "0.002"}
        self._processes: list[Process] = []
        self.closely: list[int] = []  # see Recording
        self._count = 0
        self.server: Server | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *failed: object) -> None:
        for process in self._processes:
            process.popen.kill()
            process.popen.wait(120)

    # --- processes ---

    def start_server(self, die_at: int = 0, **options: str) -> None:
        """A server; it kills itself at its own log entry `die_at`, maybe before it serves."""
        env = self._env | _variables(options)
        env["RECORD_DIE_AT"] = str(die_at)
        self.server = None
        try:
            server = _RecordedServer(self.root, env=env)
        except AssertionError:
            if not die_at:
                raise
            return
        self.server = server
        self._processes.append(server)

    def start(self, program: str, *flags: str, **options: str) -> Process:
        """The gc or the recovery worker."""
        process = _Recorded(program, self.root, *flags, env=self._env | _variables(options))
        self._processes.append(process)
        return process

    def kill(self, process: Process) -> None:
        """kill -9, between two of its operations."""
        self.log.kill(process.pid)
        process.popen.wait(120)

    def stop(self, *, clean: bool) -> None:
        """End every process: by SIGTERM, or by SIGKILL."""
        for process in self._processes:
            if process.popen.poll() is None:
                if clean:
                    status = process.stop()
                    # A worker that has only just been started does not listen to signals yet.
                    assert status == 0 or (process is not self.server and not process.said()), process.said()
                else:
                    self.kill(process)

    # --- clients ---

    def mark(self, what: str, location: str, value: Value) -> None:
        """Write a mark into the log, and into what we expect."""
        mark = Mark(what, location, value)
        with self.log.locked():
            self.log.put(Op("mark", os.getpid(), data=msgspec.msgpack.encode(mark)))
        with self._guard:
            self.expected.take(mark)

    def write(self, method: str, location: str, value: Value) -> str:
        """One write; "done", "refused" or "unknown"."""
        self.mark("begin", location, value)
        what = self._outcome(method, f"/store/{quote(location)}", value)
        self.mark(what, location, value)
        return what

    def undelete(self, location: str) -> None:
        """Bring back the newest value that is kept of `location`, if there is one."""
        try:
            found = json.loads(self._answered("GET", "/blobs/?state=Failure&limit=100").body)["blobs"]
            kept = [one for one in found if one["location"] == location and one["kept_until"]]
            if not kept:
                return
            blob_id = max(kept, key=lambda one: one["sequence"])["id"]
            value = self._answered("GET", f"/blobs/{blob_id}/data").body
        except ConnectionError:
            return
        self.mark("begin", location, value)
        self.mark(self._outcome("POST", f"/blobs/{blob_id}/undelete?replace"), location, value)

    def copy(self, source: str, target: str, *, move: bool) -> None:
        """The server copies what is at `source` to `target`. A move leaves nothing at `source`."""
        value, there = self.read(source), self.read(target)
        if value is None:
            return
        changes = [(target, value), *([(source, None)] if move else [])]
        for change in changes:
            self.mark("begin", *change)
        asked = {f"Blob-{'Move' if move else 'Copy'}-From": f"/store/{quote(source)}"}
        what = self._outcome("POST" if there is None else "PUT", f"/store/{quote(target)}", None, asked)
        for change in changes:
            self.mark(what, *change)

    def upload_in_parts(self, location: str, value: bytes, part_bytes: int = 0) -> None:
        """In parts of `part_bytes` at the same time, or in one, complete over S3; it is under /s3."""
        target = f"/s3/{quote(location)}"
        begun = self._answered("POST", f"{target}?uploads").body.decode()
        upload_id = begun.partition("<UploadId>")[2].partition("<")[0]
        part_bytes = part_bytes or len(value)

        def send(at: int) -> str:
            number = at // part_bytes + 1
            asked = f"{target}?partNumber={number}&uploadId={upload_id}"
            tag = self._answered("PUT", asked, value[at : at + part_bytes]).headers["etag"]
            return f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"

        with ThreadPoolExecutor(4) as threads:
            parts = "".join(threads.map(send, range(0, len(value), part_bytes)))
        said = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
        self.mark("begin", location, value)
        self.mark(self._outcome("POST", f"{target}?uploadId={upload_id}", said.encode()), location, value)

    def _outcome(
        self, method: str, target: str, body: Value = None, headers: dict[str, str] | None = None
    ) -> str:
        """What became of a change: "done", "refused" or "unknown"."""
        try:
            status = self._answered(method, target, body, headers).status
        except ConnectionError:
            return "unknown"
        return "done" if status in _DONE else "refused" if status in _REFUSED else "unknown"

    def read(self, location: str) -> Value:
        """One read, which must give what may be there. Raises ConnectionError if no server answers."""
        answer = self._answered("GET", f"/store/{quote(location)}")
        assert answer.status in (200, 404, 500), answer
        value = {404: None, 500: DAMAGED}.get(answer.status, answer.body)
        assert not {value, ANYTHING}.isdisjoint(self.expected.at(location)), f"read {value!r} of {location}"
        if value != DAMAGED:
            self.mark("saw", location, value)
        return value

    def _answered(
        self, method: str, target: str, body: Value = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request. Raises ConnectionError if no server answers."""
        if self.server is None:
            raise ConnectionError("no server")
        # A body without a declared length is staged at once. Otherwise one that comes quickly is held until
        # it is complete, and one of more than a MiB is received into lent memory.
        sent: bytes | Iterator[bytes] | None = body
        if body is not None and UNDECLARED_BYTES < len(body) <= LENT_BYTES:
            sent = iter([body])
        try:
            return self.server.ask(method, target, sent, headers)
        except (OSError, http.client.HTTPException) as err:
            raise ConnectionError("no answer") from err

    def body(self, size_bytes: int) -> bytes:
        """A value that no other write has."""
        with self._guard:
            self._count += 1
            text = b"write %d. " % self._count
        return (text * (size_bytes // len(text) + 1))[: max(size_bytes, len(text))]

    def change(self, location: str, sizes: tuple[int, ...], rng: random.Random, deletes: float) -> str:
        """Create, update or delete, as fits what is there."""
        now = self.expected.at(location)
        if len(now) > 1:
            now = frozenset({self.read(location)})
        if now == {None}:
            return self.write("POST", location, self.body(rng.choice(sizes)))
        if rng.random() < deletes:
            return self.write("DELETE", location, None)
        return self.write("PUT", location, self.body(rng.choice(sizes)))

    def clients(self, count: int, changes: int, sizes: tuple[int, ...], deletes: float = 0.4) -> None:
        """`count` concurrent clients, each with two locations of its own, until they are done or no
        server answers.
        """
        errors: list[BaseException] = []

        def one(number: int, seed: int) -> None:
            rng = random.Random(seed)
            try:
                for _ in range(changes):
                    self.change(f"{number}/{rng.randrange(2)}", sizes, rng, deletes)
            except ConnectionError:
                pass  # the server was killed, as was planned
            except BaseException as err:  # noqa: BLE001 - raised again below, in the test's thread
                errors.append(err)

        threads = [threading.Thread(target=one, args=(n, self.rng.random())) for n in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for err in errors:
            raise err

    def read_all(self) -> None:
        """Read every location that was ever written."""
        for location in list(self.expected.possible):
            self.read(location)

    def do_ourselves(self, step: Callable[[], None]) -> None:
        """Change the directory as a process of the product would. It is recorded."""
        with recording(self.log):
            step()

    # --- the result ---

    def finish(self) -> Recording:
        """The log, after every process has ended. AssertionError if it does not explain the directory."""
        assert all(process.popen.poll() is not None for process in self._processes)
        ops = read_log(self._log_path)
        disk = Disk(str(self.top))
        for op in ops:
            disk.apply(op)
        real, logged = _image_of(self.root, self.top), disk.whole()
        differ = [path for path in real.keys() | logged.keys() if real.get(path, 0) != logged.get(path, 0)]
        assert not differ, f"the log does not explain {sorted(differ)}"
        return Recording(str(self.top), ops, frozenset(self.closely))


class Recording(msgspec.Struct):
    """What was done to the disk at `top` (with the data directory `data`), and what clients were told.

    `closely`: processes in whose moments the power is cut more often, since little of what happens is theirs.
    """

    top: str
    ops: list[Op]
    closely: frozenset[int] = frozenset()


def mark_of(op: Op) -> Mark | None:
    """The mark that an entry is."""
    return msgspec.msgpack.decode(op.data, type=Mark) if op.kind == "mark" else None


def _image_of(root: Path, top: Path) -> Image:
    image: Image = {}
    for path in [root, *sorted(root.rglob("*"))]:
        inside = str(path.relative_to(top))
        if path.is_dir():
            image[inside] = None
        elif path.is_file():
            image[inside] = path.read_bytes()
    return image


def copy_in(source: Path, target: Path) -> None:
    """Copy a folder by calls of `durable`, without syncs: like `cp -r`, but recorded."""
    durable.make_folder(str(target))
    for path in sorted(source.iterdir()):
        if path.is_dir():
            copy_in(path, target / path.name)
        else:
            fd = durable.create_file(str(target / path.name))
            durable.write_all(fd, path.read_bytes())
            os.close(fd)
