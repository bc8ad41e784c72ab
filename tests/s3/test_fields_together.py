"""Fields in any combination: each way through the server answers alike, and stores the same."""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from collections.abc import Iterator

import pytest

from tests.s3.parameters import BASES, Base
from tests.s3.serving import served
from tests.s3.test_parameters import Front, case_of, known

OPERATIONS = ("PutObject", "UploadPart", "GetObject", "HeadObject", "CopyObject")
ROUNDS = 400


def right(body: bytes) -> dict[str, str]:
    """Values with which a field does not refuse the request."""

    def encoded(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    return {
        "x-amz-checksum-crc32": encoded(zlib.crc32(body).to_bytes(4, "big")),
        "x-amz-checksum-sha256": encoded(hashlib.sha256(body).digest()),
        "Content-MD5": encoded(hashlib.md5(body).digest()),
        "x-amz-sdk-checksum-algorithm": "CRC32",
        "x-amz-checksum-algorithm": "CRC32",
        "If-Match": "*",
        "If-None-Match": '"0"',
        "x-amz-acl": "private",
        "x-amz-storage-class": "STANDARD",
        "x-amz-expected-bucket-owner": "blobkeep",
        "x-amz-tagging": "",
        "x-amz-metadata-directive": "COPY",
        "x-amz-user-agent": "a-program",
        "Cache-Control": "no-store",
        "Range": "bytes=0-2",
    }


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Front, Front]]:
    with served() as fast, served(fast_path=False) as handlers:
        yield Front(fast), Front(handlers)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_fields_together_are_answered_alike(both: tuple[Front, Front], operation: str) -> None:
    base = BASES[operation]
    values = right(base.body.encode())
    names = sorted({name for one, where, name, _ in known() if one == operation and where == "header"})
    chosen = random.Random(operation)
    accepted = 0
    for _ in range(ROUNDS):
        fields = {}
        for name in chosen.sample([*names, *values], chosen.randint(1, 5)):
            is_right = name in values and (name not in names or chosen.random() < 0.8)
            fields[name] = values[name] if is_right else case_of(operation, name, "").value
        sent = Base(base.method, base.target, base.body, (*base.fields, *fields.items()))
        fast, handlers = (front.send(sent) for front in both)
        assert fast == handlers, fields
        accepted += fast[0] < 300
    assert ROUNDS // 20 < accepted < ROUNDS
