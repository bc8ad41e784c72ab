"""A page of an index, where nothing of it has expired and none of it waits for a disk."""

from __future__ import annotations

from services.engines.local.serving.index import Index
from services.engines.local.serving.page import PageWalk
from services.store import Page


def page_of(index: Index, prefix: str, delimiter: str, after: str, limit: int) -> Page:
    """Raises NotCached instead of waiting."""
    return PageWalk(index.blobs, prefix, delimiter, after, limit).take()
