"""Damaged blobs: their data is kept for people, and not served."""

from __future__ import annotations

from common import checksum
from common.checksum import CHUNK_BYTES, Bytes
from services.engines.objects import history, keys, pointer
from services.engines.objects.bucket import Refused, Unclear
from services.engines.objects.commit import Tools
from services.engines.objects.pointer import Facts, Known, Pointer
from services.store import DamagedBlob

TEXT = "This blob is damaged in the object store and is not served: write it anew, or delete it."

UNREADABLE = "its pointer is not readable"


def of_pointer(location: str, known: Known) -> DamagedBlob:
    """The damaged blob of a location, whose pointer says so, or cannot be read."""
    if known.pointer is None:
        return DamagedBlob(location, "", UNREADABLE, None)
    return DamagedBlob(location, history.id_of(known.pointer), known.pointer.reason, None)


async def condemn(tools: Tools, location: str, txn: str, reason: str) -> bool:
    """Stop serving the blob of the write `txn`, if its location still has it. Returns whether this call did.

    First a copy of the pointer as it will be, with the bytes of a small blob, goes to `damaged/<txn>`. The
    sweep and the gc do not touch data that such a note names, also after the location is written again.
    quarantine.py brings it back, or removes it. Raises Unavailable.
    """
    known, whole = await tools.pointers.read_whole(location)
    found = known.pointer
    if found is None or found.txn != txn or found.state != pointer.OK or known.etag is None:
        return False
    data = pointer.encode(pointer.damaged(found, reason), whole[known.body_at :])
    await tools.bucket.put(keys.damaged_key(txn), data, None)
    try:
        await tools.bucket.put(keys.pointer_key(location), data, known.etag)
    except (Refused, Unclear):
        return False  # whoever reads it again finds out
    finally:
        tools.pointers.forget(location)
    return True


async def keep(tools: Tools, found: Pointer) -> None:
    """Make the note of a damaged blob that has none: it may have been dropped just when the blob, which was
    served again, was found damaged once more. Raises Unavailable."""
    if (await tools.pointers.read_note(found.txn))[0].etag is not None:
        return
    known, whole = await tools.pointers.read_whole(found.location)
    if known.pointer is not None and known.pointer.txn == found.txn and known.is_damaged:
        await tools.bucket.put(keys.damaged_key(found.txn), whole, None)


def wrong_chunk(facts: Facts, crcs: Bytes, chunk: int, data: Bytes) -> str:
    """Why `data` is not the chunk with that number; empty where it is. `crcs`: of all chunks, packed."""
    if len(data) != min(CHUNK_BYTES, facts.size - chunk * CHUNK_BYTES):
        return f"its data ends in MiB {chunk}"
    if checksum.crc(data) != checksum.unpack_crc(crcs, chunk):
        return f"its data fails its checksum in MiB {chunk}"
    return ""


def wrong_body(known: Known, body: memoryview) -> str:
    """Why the bytes behind a pointer are not those of its blob; empty where they are. 36 µs a MiB."""
    facts = known.pointer.facts if known.pointer is not None else None
    if facts is None or facts.part_bytes:
        return ""
    if 0 < len(body) <= CHUNK_BYTES and len(body) == facts.size:
        return wrong_chunk(facts, facts.crcs, 0, body)
    chunks = (body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES))
    wrong = (wrong_chunk(facts, facts.crcs, chunk, data) for chunk, data in enumerate(chunks))
    return next(filter(None, wrong), "" if len(body) == facts.size else "it has lost bytes")
