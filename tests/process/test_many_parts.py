"""Sixty-four uploads in parts at once cost little memory."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from tests.s3.test_server import MIB, client
from tests.support.processes import Server

UPLOADS = 64


def memory_bytes(server: Server, what: str) -> int:
    """VmRSS or VmHWM, the most that it ever had."""
    status = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith(what))


def test_parts_of_many_uploads_at_once_take_at_most_a_mib_each(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--s3-path", "/s3")
    try:
        s3 = client(server.port, "/s3")
        s3.create_bucket(Bucket="photos")
        s3.put_object(Bucket="photos", Key="warm", Body=bytes(6 * MIB))
        keys = [f"k{n}" for n in range(UPLOADS)]
        ids = [s3.create_multipart_upload(Bucket="photos", Key=key)["UploadId"] for key in keys]
        body = os.urandom(6 * MIB)
        failed: list[Exception] = []

        def send(key: str, upload_id: str) -> None:
            try:
                one = client(server.port, "/s3")
                one.upload_part(Bucket="photos", Key=key, UploadId=upload_id, PartNumber=1, Body=body)
            except Exception as err:  # noqa: BLE001 - raised below, in the test's thread
                failed.append(err)

        before = memory_bytes(server, "VmRSS")
        threads = [threading.Thread(target=send, args=one) for one in zip(keys, ids, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed, failed[0]
        assert memory_bytes(server, "VmHWM") - before <= UPLOADS * MIB
    finally:
        server.end()
