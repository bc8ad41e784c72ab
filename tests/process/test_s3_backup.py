"""Keys, buckets, ETags and metadata that only S3 can name survive an export and an import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.s3.test_server import MIB, client, multipart
from tests.support.processes import Server
from tests.support.tools import tool

KEYS = ["a//b", "../up", "dir/", ".", "plain", "é"]
SHOWN = ("ETag", "ContentLength", "ContentType", "Metadata", "CacheControl")


def heads(s3: Any) -> dict[str, dict[str, Any]]:
    found = {}
    for one in s3.list_objects_v2(Bucket="photos")["Contents"]:
        head = s3.head_object(Bucket="photos", Key=one["Key"])
        found[one["Key"]] = {name: head.get(name) for name in SHOWN}
    return found


def test_an_export_brings_back_what_only_s3_can_name(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--s3-path", "/s3")
    try:
        s3 = client(server.port, "/s3")
        for name in ("photos", "empty"):
            s3.create_bucket(Bucket=name)
        for key in KEYS:
            said = {"ContentType": "text/x", "Metadata": {"who": "me"}, "CacheControl": "no-store"}
            s3.put_object(Bucket="photos", Key=key, Body=key.encode(), **said)
        upload, parts = multipart(s3)
        s3.complete_multipart_upload(
            Bucket="photos", Key="large", UploadId=upload, MultipartUpload={"Parts": parts}
        )
        s3.copy_object(Bucket="photos", Key="copy", CopySource="photos/large")  # one file with the other
        multipart(s3)
        told = tool("du", "--dir", tmp_path / "data").out
        assert "uploads in parts, under way: 10.0 MiB" in told
        before = heads(s3)
        assert tool("export", tmp_path / "all.tar", "--dir", tmp_path / "data").status == 0
        # The buckets' own records are no blobs of a client: they were listed as \x00s3/bucket/empty.
        named = [f"photos/{key}" for key in sorted([*KEYS, "copy", "large"])]
        assert tool("ls", "--dir", tmp_path / "data").out.splitlines() == named
        assert tool("ls", "--tar", tmp_path / "all.tar").out.splitlines() == named
        assert "\\x00s3/bucket/empty" in tool("ls", "-a", "--dir", tmp_path / "data").out
    finally:
        server.end()
    assert Server(tmp_path / "new").stop() == 0  # which makes the directory
    done = tool("import", tmp_path / "all.tar", "--dir", tmp_path / "new")
    assert done.status == 0, (done.out, done.err)
    server = Server(tmp_path / "new", "--s3-path", "/s3")
    try:
        s3 = client(server.port, "/s3")
        assert heads(s3) == before
        large = b"\x01" * (5 * MIB) + b"\x02" * (5 * MIB)
        assert s3.get_object(Bucket="photos", Key="copy")["Body"].read() == large
        assert "Uploads" not in s3.list_multipart_uploads(Bucket="photos")
        assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == ["empty", "photos"]
        for key in KEYS:
            assert s3.get_object(Bucket="photos", Key=key)["Body"].read() == key.encode()
        s3.delete_object(Bucket="photos", Key="a//b")
        # The native API cannot ask for a name that only S3 has. The import must not take it for another name.
        done = tool("import", tmp_path / "all.tar", "--only", "photos/a//b", "--dir", tmp_path / "new")
        assert done.status == 1
        assert "S3" in done.out + done.err
        assert server.ask("GET", "/store/photos/a/b").status == 404
    finally:
        server.end()
