"""Records of the disk as the store shows them. Pure."""

from __future__ import annotations

from common.states import WORD_OF_CODE, State
from common.times import rfc3339
from services.engines.local.disk.record import BlobRecord
from services.store import Description, Event


def description(record: BlobRecord) -> Description:
    """All that the record of a blob in any state says."""
    complete = record.state is State.COMPLETE
    return Description(
        id=record.id,
        location=record.location,
        state=WORD_OF_CODE[record.events[-1].code],
        seq=record.seq,
        size=record.size if complete else None,
        etag=f'"{record.sha256.hex()}"' if complete else None,
        modified=rfc3339(record.modified_ns) if complete else None,
        type=record.type,
        encoding=record.encoding,
        metadata={name: said for name, said in record.metadata.items() if not name.startswith(".")},
        history=[Event(e.at, WORD_OF_CODE[e.code], e.message) for e in reversed(record.events)],
    )
