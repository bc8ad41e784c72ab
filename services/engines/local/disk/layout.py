"""The names under DIR: where a blob's folder is, which names are ours, which are foreign. Pure.

With `id_bits = 16` the folder of id N is `DIR/N`; with 32 it is `DIR/<N >> 16>/<N & 65535>`, each
first-level folder being laid out like a whole 16 bit store (design: 'A blob').
"""

from __future__ import annotations

STATE_NAME = "blob_state.base64.json"
STATE_TEMP_NAME = "blob_state.base64.json.tmp"  # one writer per folder, so a fixed name leaves no litter
DATA_NAME = "data.raw"
DATA_TEMP_NAME = "data.raw.tmp"
NOTE_NAME = "quarantine.json"

FORMAT_NAME = ".blobkeep.json"
LOCK_NAME = ".lock"
GC_LOCK_NAME = ".gc.lock"
GONE_NAME = ".gone"
QUARANTINE_NAME = ".quarantine"
HINTS_NAME = ".failed"
HINTS_TAKEN_NAME = ".failed.taken"
SOCKET_NAME = ".server.sock"
STATUS_NAME = ".status"
RESERVE_NAME = ".reserve"
JOURNAL_NAME = ".journal"
EXPORTS_NAME = ".export"  # the hard links of snapshots that are being written out
EXPORTED_NAME = ".exported.json"  # the last member of an export, so also in a directory unpacked from one
GC_HOLD_NAME = ".gc.hold"  # a lock: while an export takes its snapshot, the gc removes nothing
GC_WANTED_NAME = ".gc.wanted"  # a lock: an export waits for the one above, so the gc gives way
ROOM_WANTED_NAME = ".room-wanted"  # a hint: the server had no room for so many bytes
BENCH_NAME = ".bench"
MULTIPART_NAME = ".multipart"  # uploads in parts that are neither complete nor aborted
READ_TIMES_NAME = ".read-times"  # of blobs under a prefix with a limit: when they were read last
WIDENING_NAME = ".widening"  # what `blobkeep widen` has moved so far
INDEX_NAME = ".index"  # the index of the blobs, so that a start need not read them all
SYNC_FAILED_NAME = ".sync-failed"
READERS_NAME = ".readers"  # which table reader processes may use; see disk/readers_epoch.py
READERS_SOCKET_NAME = ".readers.sock"
RUN_NAME = ".run"  # supervisord's configuration, control socket and pid file

# Every name of ours directly under DIR; any other that is not an id is foreign, and left alone.
OUR_NAMES = frozenset(
    {
        *(FORMAT_NAME, FORMAT_NAME + ".tmp", LOCK_NAME, GC_LOCK_NAME, GONE_NAME, QUARANTINE_NAME),
        *(HINTS_NAME, HINTS_TAKEN_NAME, SOCKET_NAME, STATUS_NAME, RESERVE_NAME, RUN_NAME),
        *(EXPORTS_NAME, EXPORTED_NAME, GC_HOLD_NAME, GC_WANTED_NAME, BENCH_NAME, MULTIPART_NAME, INDEX_NAME),
        *(ROOM_WANTED_NAME, ROOM_WANTED_NAME + ".tmp", WIDENING_NAME),
        *(READ_TIMES_NAME, READ_TIMES_NAME + ".tmp"),
        *(SYNC_FAILED_NAME, READERS_NAME, READERS_SOCKET_NAME),
        *(f"{JOURNAL_NAME}.{n}{end}" for n in (0, 1) for end in ("", ".tmp")),
    }
)

# Made at the start, since deletes and the gc need them, and a full disk may have no inode for them later.
FIXED_FOLDERS = (GONE_NAME, QUARANTINE_NAME, STATUS_NAME)
FIXED_FILES = (GC_LOCK_NAME, GC_HOLD_NAME, GC_WANTED_NAME)

_ROW = 1 << 16  # ids in one folder level


def parse_id(name: str) -> int | None:
    """The number that a folder's name says, 0..65535; None for any other name (also for `007`)."""
    if name.isascii() and name.isdigit() and len(name) <= 5 and (name == "0" or name[0] != "0"):
        number = int(name)
        return number if number < _ROW else None
    return None


class Layout:
    """Paths of one data directory. `root`: its path; `id_bits`: 16 or 32.

    `read_only`: it could not be written when it was opened. Then it is served for reading, and nothing is
    settled, until a start that can write.
    """

    __slots__ = ("id_bits", "read_only", "root")

    def __init__(self, root: str, id_bits: int, *, read_only: bool = False) -> None:
        if id_bits not in (16, 32):
            raise ValueError("id_bits is 16 or 32")
        self.root = root
        self.id_bits = id_bits
        self.read_only = read_only

    def parent(self, blob_id: int) -> str:
        """The folder that holds the blob's folder: what must be synced for the blob's entry to stay."""
        return self.root if self.id_bits == 16 else f"{self.root}/{blob_id >> 16}"

    def folder(self, blob_id: int) -> str:
        """The blob's own folder."""
        if self.id_bits == 16:
            return f"{self.root}/{blob_id}"
        return f"{self.root}/{blob_id >> 16}/{blob_id & 0xFFFF}"

    def state(self, blob_id: int) -> str:
        """Its state file."""
        return f"{self.folder(blob_id)}/{STATE_NAME}"

    def data(self, blob_id: int) -> str:
        """Its data file."""
        if self.id_bits == 16:  # without a call: each read asks
            return f"{self.root}/{blob_id}/{DATA_NAME}"
        return f"{self.folder(blob_id)}/{DATA_NAME}"

    @property
    def reports_dir(self) -> str:
        """Where each process leaves its self report."""
        return self.ours(STATUS_NAME)

    def ours(self, name: str) -> str:
        """One of our own hidden names under DIR."""
        return f"{self.root}/{name}"
