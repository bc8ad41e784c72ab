"""What terraform's S3 backend sends with `use_lockfile`, by hand: no version that has it is on PyPI. The
program itself, where it is installed: tests/clients/test_terraform.py.

A lock is an object `<key>.tflock`, created with If-None-Match. Who does not get it reads whose it is.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import pytest

from tests.s3.serving import SECRET, Served, served
from tests.s3.signing import signed_by_botocore

STATE = "/states/env%3A/prod/network.tfstate"
LOCK = STATE + ".tflock"


@pytest.fixture
def front() -> Iterator[Served]:
    with served() as made:
        made.client().create_bucket(Bucket="states")
        yield made


def ask(
    front: Served, method: str, target: str, body: bytes = b"", **fields: str
) -> tuple[int, dict[str, str], bytes]:
    """(status, fields, body) of one signed request, with the fields of its SDK."""
    given = {name.replace("_", "-"): value for name, value in fields.items()}
    given["amz-sdk-request"] = "attempt=1; max=5"
    if method == "PUT":
        given["Content-Type"] = "application/json"
        given["x-amz-checksum-sha256"] = base64.b64encode(hashlib.sha256(body).digest()).decode()
        given["x-amz-sdk-checksum-algorithm"] = "SHA256"
    url = f"http://127.0.0.1:{front.port}{target}"
    signed = signed_by_botocore(method, url, "alice", SECRET, headers=given, body=body)
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=60)
    try:
        connection.request(
            method, target, body or None, {name: values[0] for name, values in signed.headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def lock_of(who: str) -> bytes:
    return json.dumps({"ID": who, "Operation": "OperationTypeApply", "Who": f"{who}@host"}).encode()


def test_a_lock_is_held_by_one_and_given_back(front: Served) -> None:
    assert ask(front, "HEAD", STATE)[0] == 404
    assert ask(front, "GET", STATE)[0] == 404
    assert ask(front, "PUT", LOCK, lock_of("first"), If_None_Match="*")[0] == 200

    status, fields, said = ask(front, "PUT", LOCK, lock_of("second"), If_None_Match="*")
    assert (status, fields["content-type"]) == (412, "application/xml")
    error = ElementTree.fromstring(said)
    assert (error.tag, error.findtext("Code")) == ("Error", "PreconditionFailed")
    assert error.findtext("RequestId") == fields["x-amz-request-id"]
    assert ask(front, "GET", LOCK)[2] == lock_of("first")  # whose it is

    assert ask(front, "PUT", STATE, b'{"version": 4}')[0] == 200
    listed = ask(front, "GET", "/states?list-type=2&max-keys=1000&prefix=env%3A%2F")[2]
    assert b"<Key>env:/prod/network.tfstate</Key>" in listed
    assert ask(front, "DELETE", LOCK)[0] == 204
    assert ask(front, "GET", LOCK)[0] == 404
    assert ask(front, "PUT", LOCK, lock_of("second"), If_None_Match="*")[0] == 200
    assert ask(front, "GET", STATE)[2] == b'{"version": 4}'


def test_of_many_one_gets_the_lock(front: Served) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(ask, front, "PUT", LOCK, lock_of(f"client {n}"), If_None_Match="*") for n in range(8)
        ]
        statuses = [one.result()[0] for one in asked]
    assert sorted(statuses) == [200] + [412] * 7
    assert ask(front, "GET", LOCK)[2] == lock_of(f"client {statuses.index(200)}")
