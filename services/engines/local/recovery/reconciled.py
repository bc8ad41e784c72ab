"""The result of a recovery: what it found in a directory, and what it did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from services.engines.local.disk import quarantine
from services.engines.local.disk.blob import Blob


class LiveBlobs(Protocol):
    """Blobs by location: a dict, or an index."""

    def get(self, location: str, /) -> Blob | None: ...
    def __contains__(self, location: object, /) -> bool: ...
    def __len__(self) -> int: ...
    def __setitem__(self, location: str, blob: Blob, /) -> None: ...
    def __getitem__(self, location: str, /) -> Blob: ...
    def __iter__(self) -> Iterator[str]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def pop(self, location: str, /) -> Blob: ...
    def values(self) -> Iterable[Blob]: ...
    def items(self) -> Iterable[tuple[str, Blob]]: ...


@dataclass
class Reconciled:
    """What was found, and what was done. Counts are blobs."""

    live: LiveBlobs = field(default_factory=dict[str, Blob])  # by location: what is served
    # By location: quarantined, under this name; empty if the disk refused the move.
    damaged: dict[str, tuple[str, quarantine.Note]] = field(default_factory=dict)
    quarantined: list[tuple[int, str]] = field(default_factory=list)  # (id, reason), of this run
    # By location: ids of superseded blobs that could not be marked. They must be marked before their location
    # is written or deleted: else a delete would bring them back at the next start.
    unsettled: dict[str, list[int]] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)  # ids in Failure, for the gc
    # By id, why: their state could not be read, so their location is unknown. Left where they are.
    unreadable: dict[int, str] = field(default_factory=dict)
    # By location: blobs of the original server that cannot be served before their checksums are computed.
    unadopted: dict[str, Blob] = field(default_factory=dict)
    # In a read-only directory: locations whose folders do not agree with the journal. Not served.
    unplaced: frozenset[str] = frozenset()
    # Paths of damaged folders whose location is unknown, with those that this run moved to quarantine.
    nameless: list[str] = field(default_factory=list)
    moved: list[tuple[str, quarantine.Note]] = field(default_factory=list)
    by_index: bool = False  # what the index knew was not read
    unlisted: list[int] = field(default_factory=list)  # rows whose names were not compared with the index
    seen: int = 0
    interrupted: int = 0
    superseded: int = 0
    adopted: int = 0  # records of the original server that got checksums
    removed: int = 0  # folders in which nothing was ever acknowledged
    max_seq: int = 0
    seconds: float = 0.0

    @property
    def is_settled(self) -> bool:
        """False if a complete blob may be on the disk that `live` does not have."""
        return not (self.unreadable or self.unadopted or self.unsettled or self.unplaced or self.quarantined)

    @property
    def changed(self) -> bool:
        """True if the run changed anything on disk."""
        return bool(self.interrupted or self.superseded or self.adopted or self.removed or self.quarantined)

    def __str__(self) -> str:
        return (
            f"seen={self.seen} live={len(self.live)} failure={len(self.failures)} "
            f"interrupted={self.interrupted} superseded={self.superseded} adopted={self.adopted} "
            f"removed={self.removed} quarantined={len(self.quarantined)} "
            f"unreadable={len(self.unreadable)} unadopted={len(self.unadopted)} in {self.seconds:.2f} s"
        )
