"""`s3_etag`: tags with and without an MD5. Each object has one tag, wherever it is shown."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest
from botocore.exceptions import ClientError

from common.config import Config
from services.frontends.s3.multipart import part_tag
from services.store import Part
from tests.s3.serving import served
from tests.s3.test_objects import error_of
from tests.support.memory_store import MemoryStore

BODY = b"fast" * 1000
WHERE = {"Bucket": "fast", "Key": "key"}
MD5 = hashlib.md5(BODY).digest()
SHA256_TAG = f'"{hashlib.sha256(BODY).hexdigest()[:32]}-1"'


def tags(s3: Any) -> set[str]:
    """The object has this tag wherever a tag is shown, and conditions accept it."""
    listed = s3.list_objects_v2(Bucket="fast")["Contents"][0]["ETag"]
    shown = {listed, s3.head_object(**WHERE)["ETag"], s3.list_objects(Bucket="fast")["Contents"][0]["ETag"]}
    s3.put_object(**WHERE, Body=BODY + b"2", IfMatch=listed)
    with pytest.raises(ClientError) as raised:
        s3.get_object(**WHERE, IfMatch=listed)
    assert error_of(raised) == (412, "PreconditionFailed")
    return shown


def test_one_tag_with_a_dash() -> None:
    with served(s3_etag="fast") as front:
        s3 = front.client()
        s3.create_bucket(Bucket="fast")
        assert s3.put_object(**WHERE, Body=BODY)["ETag"] == SHA256_TAG
        assert tags(s3) == {SHA256_TAG}
        sent = s3.put_object(**WHERE, Body=BODY, ContentMD5=base64.b64encode(MD5).decode())
        assert sent["ETag"] == f'"{MD5.hex()}"'  # it was computed in order to be compared
        with pytest.raises(ClientError) as raised:
            s3.put_object(**WHERE, Body=BODY + b"x", ContentMD5=base64.b64encode(MD5).decode())
        assert error_of(raised) == (400, "BadDigest")


@pytest.mark.parametrize("how", ["auto", "md5", "fast"])
@pytest.mark.parametrize("length", [1, 5 << 20])
@pytest.mark.parametrize("sends_md5", [False, True])
def test_which_tags_are_md5s(how: str, length: int, sends_md5: bool) -> None:
    """Of a whole object unless it is "fast", of a part only if it is "md5", of both if it was sent."""
    body = b"x" * length
    md5 = hashlib.md5(body)
    said = {"ContentMD5": base64.b64encode(md5.digest()).decode()} if sends_md5 else {}
    assert Config().s3_etag == "auto"
    with served(s3_etag=how) as front:
        s3 = front.client()
        s3.create_bucket(Bucket="fast")
        whole = s3.put_object(**WHERE, Body=body, **said)["ETag"].strip('"')
        upload = {**WHERE, "UploadId": s3.create_multipart_upload(**WHERE)["UploadId"]}
        part = s3.upload_part(**upload, PartNumber=1, Body=body, **said)["ETag"].strip('"')
        copied = {**upload, "PartNumber": 2, "CopySource": WHERE}
        copy = s3.upload_part_copy(**copied)["CopyPartResult"]["ETag"].strip('"')
        assert (whole == md5.hexdigest()) == (sends_md5 or how != "fast")
        assert (part == md5.hexdigest()) == (sends_md5 or how == "md5")
        assert (copy == md5.hexdigest()) == (how == "md5")
        for tag in (whole, part, copy):
            assert tag == md5.hexdigest() or re.fullmatch("[0-9a-f]{32}-1", tag)
        named = {"Parts": [{"PartNumber": 1, "ETag": part}]}
        done = s3.complete_multipart_upload(**upload, MultipartUpload=named)["ETag"].strip('"')
        assert done == f"{hashlib.md5(bytes.fromhex(part[:32])).hexdigest()}-1"


def test_objects_keep_the_tags_that_they_have() -> None:
    store = MemoryStore()
    for how, tag in (("md5", f'"{MD5.hex()}"'), ("auto", f'"{MD5.hex()}"'), ("fast", SHA256_TAG)):
        store.blobs.clear()
        with served(s3_etag=how, make_store=lambda: store) as front:
            front.client().create_bucket(Bucket="fast")
            assert front.client().put_object(**WHERE, Body=BODY)["ETag"] == tag
        with served(s3_etag="md5" if how == "fast" else "fast", make_store=lambda: store) as front:
            assert tags(front.client()) == {tag}


def test_a_part_without_sha256_has_a_tag_of_its_checksum() -> None:
    def tag(**attributes: str) -> str:
        named = {name.replace("_", "-"): value for name, value in attributes.items()}
        return part_tag(Part(1, "id", 5, b"", 0, {f".s3-{name}": value for name, value in named.items()}))

    one = tag(checksum_crc32="AAAAAA==")
    assert one == tag(checksum_crc32="AAAAAA==")
    assert len({one, tag(checksum_crc32="AAAAAQ=="), tag(checksum_crc32c="AAAAAA==")}) == 3
    assert tag(etag=MD5.hex(), checksum_crc32="AAAAAA==") == MD5.hex()
