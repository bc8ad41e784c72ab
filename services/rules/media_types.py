"""Guesses the media type of an upload without one from the name of the blob. Pure."""

from __future__ import annotations

import functools
import mimetypes

from services.rules.uploads import DEFAULT_MEDIA_TYPE, MAX_FIELD_CHARS, stored_media_type

# Types that Python's table lacks, or that differ between its versions.
_MORE = {
    ".7z": "application/x-7z-compressed",
    ".avif": "image/avif",
    ".bz2": "application/x-bzip2",
    ".flac": "audio/flac",
    ".gz": "application/gzip",
    ".log": "text/plain",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".mkv": "video/x-matroska",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".parquet": "application/vnd.apache.parquet",
    ".toml": "application/toml",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zst": "application/zstd",
}
_MAX_ENDING_CHARS = 16


def upload_media_type(header: str | None, location: str, *, guesses: bool) -> str:
    """The type to store: that of the Content-Type `header`, else that of the ending of `location`."""
    said = None
    if header is not None:
        said = (_said if len(header) <= MAX_FIELD_CHARS else _judged)(header)
    if said is not None:
        return said
    return guess_media_type(location) if guesses else DEFAULT_MEDIA_TYPE


def _judged(header: str) -> str | None:
    """The type in a Content-Type; None if it says nothing."""
    said = stored_media_type(header)
    return said if said != DEFAULT_MEDIA_TYPE or header.strip(" \t").lower() == DEFAULT_MEDIA_TYPE else None


_said = functools.lru_cache(256)(_judged)  # clients send few types


def guess_media_type(location: str) -> str:
    """The type by the ending of the name, in any letter case; application/octet-stream for unknown ones.

    It is the same on every machine: the system's table of types is not read. `.tar.gz` is gzip, not tar: the
    type is that of the bytes as they are, and no Content-Encoding is added.
    """
    name = location.rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    if not dot or not stem or len(ending) > _MAX_ENDING_CHARS:
        return DEFAULT_MEDIA_TYPE
    return _table().get("." + ending.lower(), DEFAULT_MEDIA_TYPE)


@functools.cache
def _table() -> dict[str, str]:
    return mimetypes.MimeTypes().types_map[True] | _MORE
