"""The type of an upload without a declared type follows from its name."""

from __future__ import annotations

import pytest

from services.rules.media_types import guess_media_type, upload_media_type

OCTETS = "application/octet-stream"


@pytest.mark.parametrize(
    ("location", "media_type"),
    [
        ("photos/cat.jpg", "image/jpeg"),
        ("CAT.JPG", "image/jpeg"),
        ("a.html", "text/html"),
        ("a.b/c.webm", "video/webm"),
        ("a.webp", "image/webp"),
        ("backup.tar.gz", "application/gzip"),
        ("a.svg", "image/svg+xml"),
        ("a.jpg/b", OCTETS),
        (".jpg", OCTETS),
        ("a.", OCTETS),
        ("a", OCTETS),
        ("a.unknown", OCTETS),
        ("a." + "x" * 1000, OCTETS),
    ],
)
def test_the_ending_tells(location: str, media_type: str) -> None:
    assert guess_media_type(location) == media_type


@pytest.mark.parametrize(
    ("header", "media_type"),
    [
        (None, "image/png"),
        ("", "image/png"),
        ("application/x-www-form-urlencoded", "image/png"),
        ("no type", "image/png"),
        ("text/plain", "text/plain"),
        (OCTETS, OCTETS),
        ("Application/Octet-Stream", "Application/Octet-Stream"),
    ],
)
def test_what_the_client_says_comes_first(header: str | None, media_type: str) -> None:
    assert upload_media_type(header, "a.png", guesses=True) == media_type
    assert upload_media_type(header, "a.png", guesses=False) in (media_type, OCTETS)
    assert upload_media_type(None, "a.png", guesses=False) == OCTETS
