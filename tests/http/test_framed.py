"""Uploads that are meant for another interface are refused. Types are guessed from names."""

from __future__ import annotations

import pytest

from tests.conftest import StartServer
from tests.http.conftest import CONNECTIONS
from tests.support.processes import Server

FRAMED = b"5;chunk-signature=0\r\nhello\r\n0;chunk-signature=0\r\n\r\n"
STREAMING = {"X-Amz-Content-Sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
FORM = b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\nhello\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("headers", "body", "says"),
    [
        ({"Content-Encoding": "aws-chunked"}, FRAMED, "S3 front end"),
        ({"Content-Encoding": "gzip, AWS-Chunked"}, FRAMED, "S3 front end"),
        (STREAMING, FRAMED, "S3 front end"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, FORM, "curl -T"),
        ({"Content-Type": "Multipart/Form-Data"}, FORM, "--data-binary"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_body_with_something_around_it_is_refused(
    method: str, headers: dict[str, str], body: bytes, says: str, creating: Server, location: str
) -> None:
    answer = creating.ask(method, f"/store/{location}", body, headers)
    assert answer.status == 400
    assert says in answer.body.decode()
    assert creating.ask("GET", f"/store/{location}").status == 404


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("POST", "uploads"),
        ("POST", "uploads="),
        ("PUT", "partNumber=1&uploadId=a"),
        ("POST", "uploadId=a"),
        ("DELETE", "uploadId=a"),
        ("PUT", "acl"),
        ("PUT", "x-id=PutObjectTagging&tagging"),
    ],
)
def test_an_operation_of_s3_is_no_write_of_the_blob(
    method: str, query: str, creating: Server, location: str
) -> None:
    """POST ?uploads left an empty blob, PUT ?acl replaced it by XML, DELETE ?uploadId deleted it."""
    creating.ask("POST", f"/store/{location}", b"kept")
    body = None if method == "DELETE" else b"<xml/>"
    for target in (f"/store/{location}?{query}", f"/store/{location}/new?{query}"):
        assert creating.ask(method, target, body).status == 400
    assert creating.ask("GET", f"/store/{location}").body == b"kept"
    assert creating.ask("GET", f"/store/{location}/new").status == 404


def test_other_parameters_are_let_pass(creating: Server, location: str) -> None:
    """Terraform sends ?ID= with a state whose lock it holds."""
    for query in ("ID=1", "x-id=PutObject", "myuploads=1", "acls"):
        assert creating.ask("PUT", f"/store/{location}?{query}", b"x").status in (200, 201)


@pytest.mark.parametrize("size", [5, 200_000])
def test_a_type_is_guessed_by_the_name(size: int, strict: Server, location: str) -> None:
    said = {
        None: "image/jpeg",
        "text/plain": "text/plain",
        "application/octet-stream": "application/octet-stream",
    }
    for number, (header, expected) in enumerate(said.items()):
        target = f"/store/{location}/{number}.jpg"
        strict.ask("POST", target, bytes(size), {"Content-Type": header} if header else {})
        assert strict.ask("HEAD", target).headers["content-type"] == expected


@pytest.mark.parametrize("http", CONNECTIONS)
def test_guessing_can_be_turned_off(start_server: StartServer, http: str) -> None:
    server = start_server("--no-guess-type", "--http", http)
    server.ask("POST", "/store/a.jpg", b"x")
    assert server.ask("HEAD", "/store/a.jpg").headers["content-type"] == "application/octet-stream"
