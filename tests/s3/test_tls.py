"""S3 over TLS: there SDKs send their checksums as trailers, in a framed body without a length."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from tests.http.test_tls import make_certificate
from tests.support.processes import Server
from tests.support.tools import tool

MIB = 1 << 20
LARGE = os.urandom(12 * MIB)
ALGORITHMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")


@pytest.mark.parametrize("is_open", [True, False])
def test_trailers_of_boto3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_open: bool) -> None:
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    cert, key = make_certificate(tmp_path)
    flags = ["--s3-path", "/s3", "--tls-cert", str(cert), "--tls-key", str(key)]
    secret = "any"
    if not is_open:
        said = tool("access", "add", "alice", "--s3", "--file", tmp_path / "keys").out
        secret = said.split("secret access key:")[1].split()[0]
        flags += ["--auth-file", str(tmp_path / "keys")]
    server = Server(tmp_path / "data", *flags)
    sent: list[str | None] = []
    try:
        s3 = boto3.client(
            "s3",
            endpoint_url=f"https://127.0.0.1:{server.port}/s3",
            region_name="us-east-1",
            aws_access_key_id="alice",
            aws_secret_access_key=secret,
            verify=str(cert),
            config=Config(proxies={}, retries={"total_max_attempts": 1}),
        )

        def look(request: Any, **_: Any) -> None:
            trailer = request.headers.get("X-Amz-Trailer")
            sent.append(trailer.decode() if isinstance(trailer, bytes) else trailer)

        for operation in ("PutObject", "UploadPart"):
            s3.meta.events.register(f"before-send.s3.{operation}", look)
        s3.create_bucket(Bucket="bucket")
        for algorithm in ALGORITHMS:
            s3.put_object(Bucket="bucket", Key=algorithm, Body=b"small", ChecksumAlgorithm=algorithm)
            got = s3.get_object(Bucket="bucket", Key=algorithm, ChecksumMode="ENABLED")
            assert got["Body"].read() == b"small"  # which boto3 compares
            assert f"Checksum{algorithm}" in got
        assert sent == [f"x-amz-checksum-{algorithm.lower()}" for algorithm in ALGORITHMS]
        (tmp_path / "large").write_bytes(LARGE)
        how = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
        s3.upload_file(str(tmp_path / "large"), "bucket", "large", Config=how)
        assert sent[len(ALGORITHMS) :] == ["x-amz-checksum-crc32"] * 3
        assert s3.get_object(Bucket="bucket", Key="large")["Body"].read() == LARGE
    finally:
        server.end()
    assert "Traceback" not in server.said()
