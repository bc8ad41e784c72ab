"""The JSON of a state file as msgspec types: what the original has, and our one member, `blobkeep`. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

DEFAULT_TYPE = "application/octet-stream"


class Status(msgspec.Struct, gc=False):
    code: int
    msg: str


class LogEntry(msgspec.Struct, gc=False):
    status: Status
    timestamp: str


class Log(msgspec.Struct, gc=False):
    log: list[LogEntry]
    index: int


# No version writes a number outside of these.
Seq = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Size = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
TimeNs = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Id = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]

Location = Annotated[str, msgspec.Meta(min_length=1)]

# Real numbers are times in microseconds (2^53 in the year 2255), or follow such. A blob with a higher one is
# served, but no later number follows from it. So a number that was written by hand cannot use up all numbers.
MAX_PLAUSIBLE_SEQ = 1 << 62


class Ours(msgspec.Struct, gc=False):
    seq: Seq
    size: Size = 0
    sha256: str = ""
    type: str = DEFAULT_TYPE
    encoding: str = ""
    modified_ns: TimeNs = 0
    meta: dict[str, str] | msgspec.UnsetType = msgspec.UNSET  # not there: none


class Options(msgspec.Struct, gc=False):
    map: dict[str, str] | None = None


class Leftover(msgspec.Struct, gc=False):
    pass


class Document(msgspec.Struct, gc=False):
    """As it is written."""

    id: int
    location: str
    options: Options
    status: Log
    UpdateMU: Leftover
    blobkeep: Ours | None = None


# As it is read, like the original reads it: members may be missing or null, others are passed over.
Code = Annotated[int, msgspec.Meta(ge=-(1 << 31), le=(1 << 31) - 1)]


class ReadStatus(msgspec.Struct, gc=False):
    code: Code | None = None
    msg: str | None = None


class ReadEntry(msgspec.Struct, gc=False):
    status: ReadStatus | None = None
    timestamp: str | None = None


class ReadLog(msgspec.Struct, gc=False):
    log: list[ReadEntry | None] | None = None
    index: int | None = None


class ReadDocument(msgspec.Struct, gc=False):
    id: Id | None = None
    location: str | None = None
    status: ReadLog | None = None
    blobkeep: Ours | None = None


decode = msgspec.json.Decoder(ReadDocument).decode
encode = msgspec.json.Encoder().encode
NO_TIME = "0001-01-01T00:00:00Z"  # the original's zero time
