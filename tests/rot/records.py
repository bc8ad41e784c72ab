"""State files of ours and of the original server with any content, and a directory to put them into."""

from __future__ import annotations

import base64
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from common import checksum
from services.engines.local.disk import directory, layout
from services.engines.local.disk.layout import Layout
from services.engines.local.recovery.reconciled import Reconciled

GO_DATA = Path(__file__).resolve().parents[1] / "go-data"
GO_OK = {13342, 41055, 39822, 2818, 41740}  # complete; 1090 is Pending, 13343 in Failure
Json = dict[str, Any]


@pytest.fixture
def data_dir(base: Path) -> Layout:
    return directory.open_directory(str(base / "data"), 16, owner=True)


def document_of(blob_id: int = 13342) -> Json:
    """The JSON that the original server wrote for one of its blobs."""
    content = (GO_DATA / str(blob_id) / layout.STATE_NAME).read_bytes()
    found: Json = msgspec.json.decode(base64.b64decode(content.splitlines()[0].split(b":")[1]))
    return found


def original(document: Json | bytes, history: bytes = b"") -> bytes:
    """A state file of the original with this JSON."""
    packed = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return b"BLOB_BASE64_dev:" + base64.b64encode(packed) + b"\n\n" + history


def sealed(document: Json | bytes, chunks: bytes = b"") -> bytes:
    """A state file of ours with this JSON, and a checksum that is right."""
    packed = document if isinstance(document, bytes) else msgspec.json.encode(document)
    body = b"BLOB_BASE64_blobkeep1:" + base64.b64encode(packed) + b"\n\n\n" + chunks
    return body + b"state: crc32c %08x\n" % checksum.crc(body)


def our_document(data_dir: Layout, blob_id: int) -> tuple[Json, bytes]:
    """The JSON of a blob of ours, and its line of chunks."""
    content = Path(data_dir.state(blob_id)).read_bytes()
    found: Json = msgspec.json.decode(base64.b64decode(content.splitlines()[0].split(b":")[1]))
    return found, next(line + b"\n" for line in content.splitlines() if line.startswith(b"chunks"))


def copy_go(data_dir: Layout, blob_id: int) -> None:
    shutil.copytree(GO_DATA / str(blob_id), data_dir.folder(blob_id))


def newest(document: Json) -> Json:
    entry: Json = document["status"]["log"][-1]
    return entry


def is_kept(data_dir: Layout, found: Reconciled, blob_id: int) -> bool:
    """Served, or in quarantine with its data."""
    kept = {blob.id for blob in (*found.live.values(), *found.unadopted.values())}
    home = Path(data_dir.ours(layout.QUARANTINE_NAME))
    moved = [name for name in os.listdir(home) if name.split("-")[0] == str(blob_id)] if home.is_dir() else []
    return blob_id in kept or any((home / name / layout.DATA_NAME).exists() for name in moved)


def overwrite(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
