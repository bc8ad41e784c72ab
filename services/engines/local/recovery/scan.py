"""Parses plain state files: a complete record of ours becomes the blob that is served, and one in Failure is
known as such. Pure.

A restart mostly does this, once for each blob. So it takes as few steps as possible, and leaves all other
files to `record.load`. If both accept a record, they give the same result.
"""

from __future__ import annotations

import struct

import msgspec
from crc32c import crc32c

from common.checksum import CHUNK_BYTES
from common.states import CODE, MSG_COMPLETE, State
from services.engines.local.disk.blob import Blob, pack
from services.engines.local.disk.header_text import clean_encoding, clean_metadata, clean_type
from services.engines.local.disk.record import LOG_SLOTS, PREFIX, VERSION
from services.engines.local.disk.record_json import Id, Location, Seq, Size, TimeNs

_HEAD = PREFIX + VERSION.encode() + b":"
_HEAD_BYTES = len(_HEAD)
_SEAL = b"state: crc32c %08x\n"
_SEAL_BYTES = len(_SEAL % 0)
_CHUNKS = b"\nchunks: "
_FAILURE = msgspec.json.encode({"status": {"code": CODE[State.FAILURE]}})[:-2] + b","
_COMPLETE = msgspec.json.encode({"status": {"code": CODE[State.COMPLETE], "msg": MSG_COMPLETE}})[:-1]


class _Log(msgspec.Struct, gc=False):
    log: list[msgspec.Raw]


class _Ours(msgspec.Struct, gc=False):
    seq: Seq
    size: Size
    sha256: str
    type: str
    encoding: str
    modified_ns: TimeNs
    meta: msgspec.Raw = msgspec.Raw()


class _Document(msgspec.Struct, gc=False):
    """The fields of the JSON that serving needs; the history is checked, not decoded."""

    id: Id
    location: Location
    status: _Log
    blobkeep: _Ours


_from_base64 = msgspec.json.Decoder(bytes).decode  # of a JSON string: half of what binascii takes
_decode = msgspec.json.Decoder(_Document).decode
_to_metadata = msgspec.json.Decoder(dict[str, str]).decode
_encode = msgspec.json.Encoder().encode


Scanned = Blob | int | None  # a number: in Failure, with this sequence number


def parse(content: bytes, blob_id: int) -> Scanned:
    """The blob with the state file `content`, or that it is in Failure; None for all but such records of ours
    with this id.

    As in `record.load`, no byte of the file can change unseen. Costs 3 µs, of which base64 and JSON are 1.6;
    `load` and `served` take 7.
    """
    if content[-_SEAL_BYTES:] != _SEAL % crc32c(content[:-_SEAL_BYTES]) or not content.startswith(_HEAD):
        return None
    try:
        found = _decode(_from_base64(b'"%b"' % content[_HEAD_BYTES : content.index(b"\n")]))
        log = found.status.log
        # A full ring may have wrapped: its last entry need not be the newest.
        if found.id != blob_id or len(log) >= LOG_SLOTS:
            return None
        newest = bytes(log[-1])
        ours = found.blobkeep
        if not newest.startswith(_COMPLETE):
            return ours.seq if newest.startswith(_FAILURE) else None
        at = content.rfind(_CHUNKS)
        crcs = b"" if at < 0 else bytes.fromhex(content[at + len(_CHUNKS) : -_SEAL_BYTES - 1].decode())
        sha256 = bytes.fromhex(ours.sha256)
        if len(sha256) != 32 or len(crcs) != -(-ours.size // CHUNK_BYTES) * 4:
            return None
        packed = pack(ours.seq, ours.modified_ns) + sha256 + crcs
        if ours.meta:
            metadata = clean_metadata(_to_metadata(ours.meta))
            packed += _encode(metadata) if metadata else b""
        types = clean_type(ours.type), clean_encoding(ours.encoding)
        return Blob(found.location, blob_id, ours.size, *types, packed)
    except (ValueError, IndexError, OverflowError, RecursionError, msgspec.MsgspecError, struct.error):
        return None
