"""The server speaks S3 if its configuration says so, on the same blobs as the native front end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.processes import Server, wait_for
from tests.support.tools import tool

MIB = 1 << 20


def client(port: int, path: str = "", key: str = "any", secret: str = "any") -> Any:
    how = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}{path}",
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=how,
    )


def multipart(s3: Any, parts: int = 2) -> tuple[str, list[dict[str, Any]]]:
    upload = s3.create_multipart_upload(Bucket="photos", Key="large")["UploadId"]
    done = []
    for number in range(1, parts + 1):
        body = bytes([number]) * (5 * MIB)
        tag = s3.upload_part(Bucket="photos", Key="large", UploadId=upload, PartNumber=number, Body=body)[
            "ETag"
        ]
        done.append({"PartNumber": number, "ETag": tag})
    return upload, done


def test_one_blob_for_both_front_ends_and_parts_that_survive_kills(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--s3-path", "/s3")
    try:
        s3 = client(server.port, "/s3")
        s3.create_bucket(Bucket="photos")
        s3.put_object(Bucket="photos", Key="a.jpg", Body=b"by s3", ContentType="image/jpeg")
        answer = server.ask("GET", "/store/photos/a.jpg")
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"by s3", "image/jpeg")
        assert server.ask("POST", "/store/photos/b.jpg", b"native").status == 201
        assert s3.get_object(Bucket="photos", Key="b.jpg")["Body"].read() == b"native"
        assert b"s3/" not in server.ask("GET", "/store/?delimiter=").body  # records are not shown
        s3.put_object(Bucket="photos", Key="odd//../key/", Body=b"odd")

        upload, parts = multipart(s3)
        server.kill()
        server.restart()
        s3 = client(server.port, "/s3")
        assert s3.get_object(Bucket="photos", Key="odd//../key/")["Body"].read() == b"odd"
        assert len(s3.list_parts(Bucket="photos", Key="large", UploadId=upload)["Parts"]) == 2
        ask = {"Bucket": "photos", "Key": "large", "UploadId": upload, "MultipartUpload": {"Parts": parts}}
        tag = s3.complete_multipart_upload(**ask, IfNoneMatch="*")["ETag"]
        server.kill()
        server.restart()
        s3 = client(server.port, "/s3")
        assert s3.complete_multipart_upload(**ask, IfNoneMatch="*")["ETag"] == tag
        body = s3.get_object(Bucket="photos", Key="large")["Body"].read()
        assert body == b"\x01" * (5 * MIB) + b"\x02" * (5 * MIB)
        s3.copy_object(Bucket="photos", Key="copy", CopySource="photos/large")
        assert s3.head_object(Bucket="photos", Key="copy")["ContentLength"] == 10 * MIB
        assert server.stop() == 0
        assert "Traceback" not in server.said()
    finally:
        server.end()


def test_a_host_name_of_s3_and_keys_of_the_access_file(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    assert tool("access", "add", "alice", "--s3", "--file", keys).status == 0
    secret = keys.read_text().rpartition('s3_secret = "')[2].partition('"')[0]
    assert keys.stat().st_mode & 0o077 == 0
    flags = ("--auth-file", str(keys), "--s3-hosts", "127.0.0.1", "--s3-region", "us-east-1")
    server = Server(tmp_path / "data", *flags)
    try:
        s3 = client(server.port, key="alice", secret=secret)
        s3.create_bucket(Bucket="store")
        s3.put_object(Bucket="store", Key="hot", Body=b"x")
        # Under a host name of S3, /store/hot is an object, and needs a key. The native front end must not
        # answer.
        answer = server.ask("GET", "/store/hot")
        assert (answer.status, b"AccessDenied" in answer.body) == (403, True)
        assert server.ask("GET", "/store/hot", headers={"Host": "localhost"}).status == 401
        with pytest.raises(Exception, match="InvalidAccessKeyId"):
            client(server.port, key="bob", secret=secret).list_buckets()
    finally:
        server.end()


def test_a_port_of_its_own_and_uploads_that_nobody_continues(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--s3-listen", "127.0.0.1:0", "--multipart-expiry", "0.3")
    try:
        # This line comes after the other port answers.
        wait_for(lambda: re.search(r"S3 on 127.0.0.1:\d+\n", server.said()), what="the line with the port")
        port = int(server.said().rpartition("S3 on 127.0.0.1:")[2].split()[0])
        s3 = client(port)
        s3.create_bucket(Bucket="own")
        assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == ["own"]
        left = {"Bucket": "own", "Key": "left"}
        upload = s3.create_multipart_upload(**left)["UploadId"]
        wait_for(lambda: "Uploads" not in s3.list_multipart_uploads(Bucket="own"), 30.0, "its expiry")
        assert not [*(tmp_path / "data/.multipart").iterdir()]
        with pytest.raises(ClientError, match="NoSuchUpload"):
            s3.upload_part(**left, UploadId=upload, PartNumber=1, Body=b"")
    finally:
        server.end()
