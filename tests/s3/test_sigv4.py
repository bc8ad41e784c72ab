"""The verifier of signatures accepts what botocore signs, and nothing that was changed afterwards."""

from __future__ import annotations

import contextlib
import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.frontends.s3 import sigv4
from services.frontends.s3.errors import S3Error
from tests.s3.signing import REGION, signed_by_botocore, split

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEY = "alice@example"

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PATHS = st.lists(TEXT, min_size=1, max_size=4).map(lambda parts: "/" + quote("/".join(parts), safe="/~"))
QUERIES = st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=5)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(str.strip)
METAS = st.dictionaries(NAMES.map(lambda name: f"x-amz-meta-{name}"), VALUES, max_size=3)
METHODS = st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"])


def judge(
    request: sigv4.SignedRequest, secret: str = SECRET, region: str = REGION, at: float | None = None
) -> None:
    claim = sigv4.parse(request)
    assert claim is not None
    assert claim.access_key == KEY
    sigv4.check(claim, request, secret, region, time.time() if at is None else at)


def refusal(request: sigv4.SignedRequest, **how: float | str) -> str:
    """The code of the error for `request`."""
    with pytest.raises(S3Error) as raised:
        judge(request, **how)  # type: ignore[arg-type]
    return raised.value.code


def url_of(path: str, query: list[tuple[str, str]]) -> str:
    asked = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query)
    return f"http://s3.example.com:9000{path}" + (f"?{asked}" if asked else "")


@settings(deadline=None)
@given(METHODS, PATHS, QUERIES, METAS)
def test_takes_what_botocore_signs_in_the_header(
    method: str, path: str, query: list[tuple[str, str]], metas: dict[str, str]
) -> None:
    judge(signed_by_botocore(method, url_of(path, query), KEY, SECRET, headers=metas, body=b"some"))


@settings(deadline=None)
@given(METHODS, PATHS, QUERIES, st.integers(1, 604_800))
def test_takes_what_botocore_presigns(
    method: str, path: str, query: list[tuple[str, str]], expires_s: int
) -> None:
    query = [(name, value) for name, value in query if not name.startswith("X-Amz-")]
    signed_at = time.time()
    judge(signed_by_botocore(method, url_of(path, query), KEY, SECRET, expires_s=expires_s), at=signed_at)


def test_takes_what_the_aws_runtime_signs() -> None:
    from awscrt import auth, http

    headers = http.HttpHeaders([("host", "s3.example.com"), ("x-amz-meta-a", "b  c")])
    asked = http.HttpRequest("PUT", "/bucket/a%20b?x=1&x=0&y", headers)
    how = auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4,
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=auth.AwsCredentialsProvider.new_static(KEY, SECRET),
        region=REGION,
        service="s3",
        use_double_uri_encode=False,
        should_normalize_uri_path=False,
        signed_body_header_type=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
        signed_body_value="UNSIGNED-PAYLOAD",
    )
    auth.aws_sign_request(asked, how).result(120)
    judge(split("PUT", "http://s3.example.com" + asked.path, dict(asked.headers)))


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_any_change_after_signing_is_refused(data: st.DataObject) -> None:
    presigned = data.draw(st.booleans())
    asked = signed_by_botocore(
        "PUT",
        "http://s3.example.com/bucket/key?partNumber=1&uploadId=u",
        KEY,
        SECRET,
        headers={"x-amz-meta-a": "b"} if not presigned else {},
        expires_s=60 if presigned else None,
    )
    changes = ["method", "path", "query", "host", "add", "secret", "signature"]
    change = data.draw(st.sampled_from(changes if presigned else [*changes, "meta", "payload"]))
    headers = {name: list(values) for name, values in asked.headers.items()}
    secret = SECRET
    if change == "method":
        asked = asked._replace(method="DELETE")
    elif change == "path":
        asked = asked._replace(path=asked.path + data.draw(st.sampled_from(["x", "/", "%20", "?"])))
    elif change == "query":
        asked = asked._replace(query=asked.query.replace("partNumber=1", "partNumber=2"))
    elif change == "host":
        headers["host"] = ["s3.example.org"]
    elif change == "add":
        headers["x-amz-acl"] = ["public-read"]
    elif change == "meta":
        headers["x-amz-meta-a"] = ["c"]
    elif change == "payload":
        headers["x-amz-content-sha256"] = ["UNSIGNED-PAYLOAD"]
    elif change == "secret":
        secret = SECRET + "x"
    elif presigned:
        last = asked.query[-1]
        asked = asked._replace(query=asked.query[:-1] + ("0" if last != "0" else "1"))
    else:
        text = headers["authorization"][0]
        headers["authorization"] = [text[:-1] + ("0" if text[-1] != "0" else "1")]
    code = refusal(asked._replace(headers=headers), secret=secret)
    assert code in ("SignatureDoesNotMatch", "AccessDenied")


def plain(**changes: str) -> sigv4.SignedRequest:
    return signed_by_botocore("GET", "http://s3.example.com/bucket/key", KEY, SECRET, **changes)  # type: ignore[arg-type]


def test_duplicate_query_keys_are_all_covered() -> None:
    asked = signed_by_botocore("GET", "http://h/b?a=2&a=1", KEY, SECRET)
    judge(asked)
    assert refusal(asked._replace(query="a=1")) == "SignatureDoesNotMatch"
    assert refusal(asked._replace(query="a=2&a=1&a=1")) == "SignatureDoesNotMatch"


def test_characters_that_a_client_sends_bare_but_signs_encoded() -> None:
    asked = signed_by_botocore("GET", "http://h/b/a%3Db%40c%C3%A9", KEY, SECRET)
    judge(asked._replace(path="/b/a=b@c\xc3\xa9"))


def test_a_slash_that_is_signed_as_encoded_is_taken_as_it_was_sent() -> None:
    judge(signed_by_botocore("GET", "http://h/b/a%2Fb", KEY, SECRET))


def test_the_host_must_be_signed() -> None:
    asked = plain()
    text = asked.headers["authorization"][0].replace("host;", "")
    assert refusal(asked._replace(headers={**asked.headers, "authorization": [text]})) == "AccessDenied"


def test_the_region_is_named_where_it_is_wrong() -> None:
    with pytest.raises(S3Error) as raised:
        judge(plain(), region="eu-west-3")
    assert raised.value.code == "AuthorizationHeaderMalformed"
    assert raised.value.details == {"Region": "eu-west-3"}


def test_time() -> None:
    now = time.time()  # what is signed below is signed a moment later
    assert refusal(plain(), at=now + 16 * 60) == "RequestTimeTooSkewed"
    assert refusal(plain(), at=now - 16 * 60) == "RequestTimeTooSkewed"
    judge(plain(), at=now + 14 * 60)
    link = signed_by_botocore("GET", "http://h/b/k", KEY, SECRET, expires_s=30)
    judge(link, at=now + 25)
    assert refusal(link, at=now + 40) == "AccessDenied"
    assert refusal(link, at=now - 20 * 60) == "AccessDenied"


@pytest.mark.parametrize("expires", ["0", "-1", "604801", "x", "9" * 20, ""])
def test_expires_out_of_range(expires: str) -> None:
    link = signed_by_botocore("GET", "http://h/b/k", KEY, SECRET, expires_s=30)
    query = link.query.replace("X-Amz-Expires=30", f"X-Amz-Expires={expires}")
    assert refusal(link._replace(query=query)) in (
        "AccessDenied",
        "AuthorizationQueryParametersError",
    )


def test_a_scope_of_another_day_or_service() -> None:
    asked = plain()
    text = asked.headers["authorization"][0]
    day = asked.headers["x-amz-date"][0][:8]
    for right, other in ((f"/{day}/", "/20200101/"), ("/s3/", "/ec2/"), ("/s3/", "/")):
        wrong = text.replace(right, other)
        changed = asked._replace(headers={**asked.headers, "authorization": [wrong]})
        assert refusal(changed) == "AuthorizationHeaderMalformed"


def test_version_2_is_refused_with_a_way_out() -> None:
    for request in (
        sigv4.SignedRequest("GET", "/b/k", "AWSAccessKeyId=a&Expires=1&Signature=x", {"host": ["h"]}),
        sigv4.SignedRequest("GET", "/b/k", "", {"host": ["h"], "authorization": ["AWS a:b"]}),
    ):
        with pytest.raises(S3Error, match="s3v4") as raised:
            sigv4.parse(request)
        assert raised.value.status == 403


def test_nobody_signed() -> None:
    assert sigv4.parse(sigv4.SignedRequest("GET", "/b/k", "a=b", {"host": ["h"]})) is None


@given(st.text(st.characters(max_codepoint=255), max_size=300))
def test_no_authorization_header_is_more_than_an_error(header: str) -> None:
    request = sigv4.SignedRequest(
        "GET", "/", "", {"host": ["h"], "authorization": [header], "x-amz-date": ["now"]}
    )
    with contextlib.suppress(S3Error):
        sigv4.parse(request)


def test_a_signing_key_is_the_published_one() -> None:
    # "Deriving a signing key" in AWS's documents.
    key = sigv4.signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20120215/us-east-1/iam/aws4_request")
    assert key.hex() == "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
