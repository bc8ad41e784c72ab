"""A request that is signed like an earlier one gets the same verdict as from sigv4 alone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from common.errors import BlobkeepError
from services.access.decisions import Access, Client, Role
from services.access.secret_hash import NoSecret
from services.frontends.s3 import sigv4
from services.frontends.s3.identity import Identity, identify
from services.frontends.s3.signed_alike import SignedAlike

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NOW_S = 1_790_000_000.0
NAMES = ("host", "x-amz-content-sha256", "x-amz-date", "x-amz-meta-a")
REGION = "us-east-1"

Fields = dict[str, list[str]]


def signed(
    path: str = "/b/k",
    *,
    method: str = "GET",
    query: str = "",
    at_s: float = NOW_S,
    secret: str = SECRET,
    key: str = "alice",
    meta: str = "m",
    day: str = "",
) -> tuple[str, str, str, Fields]:
    """A request, and its fields by their names in the head."""
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at_s))
    fields = {
        "Host": ["localhost"],
        "X-Amz-Content-Sha256": ["UNSIGNED-PAYLOAD"],
        "X-Amz-Date": [date],
        "X-Amz-Meta-A": [meta],
        "User-Agent": ["a"],
    }
    scope = f"{day or date[:8]}/{REGION}/s3/aws4_request"
    claim = sigv4.Claim(key, scope, date, NAMES, "", "UNSIGNED-PAYLOAD", None)
    asked = sigv4.SignedRequest(method, path, query, {name.lower(): said for name, said in fields.items()})
    canonical = sigv4.canonical_request(claim, asked, path)
    text = f"{sigv4.ALGORITHM}\n{date}\n{scope}\n{sigv4._sha256_hex(canonical)}"
    signature = sigv4.sign(sigv4.signing_key(secret, scope), text)
    fields["Authorization"] = [
        f"{sigv4.ALGORITHM} Credential={key}/{scope}, SignedHeaders={';'.join(NAMES)}, Signature={signature}"
    ]
    return method, path, query, fields


def alone(request: tuple[str, str, str, Fields], access: Access, now_s: float = NOW_S) -> Identity | None:
    method, path, query, fields = request
    asked = sigv4.SignedRequest(method, path, query, {name.lower(): said for name, said in fields.items()})
    try:
        return identify(asked, access, REGION, now_s)
    except BlobkeepError:
        return None


@pytest.fixture
def access() -> Iterator[Access]:
    found = Access([client("alice", SECRET), client("bob", "another")])
    yield found
    found.close()


def client(name: str, secret: str) -> Client:
    return Client(name, Role.READ_WRITE, "", NoSecret(), secret)


@pytest.fixture
def alike(access: Access) -> SignedAlike:
    found = SignedAlike()
    first = signed()
    identity = alone(first, access)
    assert identity is not None
    found.remember(first[3], identity)
    return found


def judged(alike: SignedAlike, request: tuple[str, str, str, Fields], access: Access) -> Identity | None:
    found = alike.identify(*request, access, NOW_S)
    assert found is None or found == alone(request, access)
    return found


@pytest.mark.parametrize(
    "request_",
    [
        signed("/b/another"),
        signed("/b/%C3%BC%20a/../x//"),
        signed(method="PUT"),
        signed(query="x-id=GetObject"),
        signed(at_s=NOW_S + 899),
        signed(at_s=NOW_S - 899),
        signed(meta="a, \xff b"),
    ],
    ids=str,
)
def test_what_is_signed_anew_is_found_right(
    alike: SignedAlike, access: Access, request_: tuple[str, str, str, Fields]
) -> None:
    assert judged(alike, request_, access) is not None


def changed(name: str, value: str) -> tuple[str, str, str, Fields]:
    method, path, query, fields = signed()
    return method, path, query, fields | {name: [value]}


def cut(chars: str) -> tuple[str, str, str, Fields]:
    return changed("Authorization", signed()[3]["Authorization"][0][: -len(chars)] + chars)


NOT_RIGHT = {
    "another secret": signed(secret="other"),
    "another's secret": signed(secret="another"),
    "a key that never asked": signed(key="bob", secret="another"),
    "too early": signed(at_s=NOW_S - 901),
    "too late": signed(at_s=NOW_S + 901),
    "another day": signed(at_s=NOW_S + 86_400),
    "another method": ("HEAD", *signed()[1:]),
    "another path": ("GET", "/b/x", "", signed()[3]),
    "another query": ("GET", "/b/k", "x-id=GetObject", signed()[3]),
    "another host": changed("Host", "elsewhere"),
    "another field": changed("X-Amz-Meta-A", "n"),
    "another body": changed("X-Amz-Content-Sha256", "0" * 64),
    "no word of the body": changed("X-Amz-Content-Sha256", ""),
    "another second": changed("X-Amz-Date", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(NOW_S + 1))),
    "no date": changed("X-Amz-Date", "20260921T000000"),
    "another signature": cut("0" * 64),
    "no signature": cut("x" * 64),
    "bytes in it": cut("\xff"),
    "nobody": changed("Authorization", ""),
}


@pytest.mark.parametrize("name", NOT_RIGHT)
def test_what_is_not_right_is_left_to_sigv4(alike: SignedAlike, access: Access, name: str) -> None:
    assert alike.identify(*NOT_RIGHT[name], access, NOW_S) is None


def test_the_day_of_the_key_is_that_of_the_request(access: Access) -> None:
    midnight_s = NOW_S - NOW_S % 86_400
    before, after = midnight_s - 60, midnight_s + 60
    alike = SignedAlike()
    first = signed(at_s=before)
    identity = alone(first, access, before)
    assert identity is not None
    alike.remember(first[3], identity)
    assert alike.identify(*signed(at_s=before + 1), access, after) is not None
    day = first[3]["X-Amz-Date"][0][:8]
    assert alike.identify(*signed(at_s=after, day=day), access, after) is None


def test_who_lost_its_key_is_known_no_more(alike: SignedAlike, access: Access) -> None:
    for clients in ([], [client("alice", "new")], None):
        access.replace(clients)
        assert alike.identify(*signed("/b/another"), access, NOW_S) is None


def test_a_field_with_two_spaces_is_signed_with_one(alike: SignedAlike, access: Access) -> None:
    request = signed(meta="a  b")
    assert alike.identify(*request, access, NOW_S) is None
    assert alone(request, access) is not None


def test_a_host_that_is_not_signed_is_never_remembered(access: Access) -> None:
    alike = SignedAlike()
    request = signed()
    said = request[3]["Authorization"][0]
    request[3]["Authorization"] = [said.replace("host;", "")]
    assert alone(request, access) is None
    alike.remember(request[3], Identity(None, "", None))
    assert alike.identify(*request, access, NOW_S) is None
