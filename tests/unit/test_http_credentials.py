"""The Authorization header (RFC 9110, section 11.6.2; RFC 6750; RFC 7617)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.rules.credentials import Credentials, parse_authorization
from tests.support.work import is_in_proportion

fuzz = settings(deadline=None, max_examples=100)


def basic(pair: str | bytes) -> str:
    data = pair if isinstance(pair, bytes) else pair.encode()
    return "Basic " + base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("header", "credentials"),
    [
        pytest.param("Bearer abc.DEF-_~+/1==", Credentials(None, "abc.DEF-_~+/1=="), id="a bearer token"),
        pytest.param("bEARER  abc ", Credentials(None, "abc"), id="any letter case, more blanks"),
        pytest.param(
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Credentials("Aladdin", "open sesame"), id="RFC 7617"
        ),
        pytest.param("BASIC QTpi", Credentials("A", "b"), id="basic in capitals"),
        pytest.param(basic("test:123£"), Credentials("test", "123£"), id="UTF-8"),
        pytest.param(basic("é:è".encode("latin-1")), Credentials("é", "è"), id="latin-1"),
        pytest.param(basic("a:b:c"), Credentials("a", "b:c"), id="colons in the password"),
        pytest.param(basic("a:"), Credentials("a", ""), id="no password"),
        pytest.param(basic(":b"), Credentials("", "b"), id="no user"),
    ],
)
def test_credentials_are_read(header: str, credentials: Credentials) -> None:
    assert parse_authorization(header) == credentials


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer =",
        "Bearer a=b",
        'Bearer "abc"',
        "Bearer é",
        "Bearer abc\n",
        "Bearer\tabc",
        "Bearerabc",
        "Bearer abc, Basic QTpi",
        "Basic",
        "Basic QTp",
        "Basic QTpi=",
        "Basic Q-p_",
        "Basic Q",
        "Digest QTpi",
        'Digest username="a"',
        basic("no colon"),
        basic("a:b\n"),
        basic("a\0:b"),
        basic("a:\x85"),
    ],
)
def test_what_is_malformed_is_nobody(header: str | None) -> None:
    assert parse_authorization(header) is None


def test_a_secret_does_not_show_where_credentials_are_printed() -> None:
    assert "hunter2" not in f"{parse_authorization('Bearer hunter2')!r}"
    assert "hunter2" not in f"{parse_authorization(basic('me:hunter2'))}"


TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)


@fuzz
@given(TEXT.filter(lambda user: ":" not in user), TEXT)
def test_any_user_and_password_are_read_back(user: str, password: str) -> None:
    assert parse_authorization(basic(f"{user}:{password}")) == Credentials(user, password)


@fuzz
@given(st.one_of(st.text(max_size=50), st.binary(max_size=50).map(basic)))
def test_whatever_comes_is_somebody_or_nobody(header: str) -> None:
    for text in (header, "Bearer " + header, "Basic " + header):
        found = parse_authorization(text)
        assert found is None or found.user is not None or found.secret


@pytest.mark.parametrize("unit", [" ", "=", "a", "a=", "Basic ", "QTpi"])
def test_a_large_header_takes_time_in_proportion(unit: str) -> None:
    def judge(size: int) -> None:
        for scheme in ("", "Bearer ", "Basic "):
            parse_authorization(scheme + unit * (size // len(unit)))
            parse_authorization(scheme + unit * (size // len(unit)) + "!")

    assert is_in_proportion(judge, 300_000)
