"""Hashes of tokens and passwords, as in the access file."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.access.secret_hash import hash_password, hash_token, parse_hash

TEXT = "scrypt:14:8:5:AAAAAAAAAAAAAAAAAAAAAA==:" + "A" * 43 + "="


@given(st.text(min_size=1), st.text())
def test_a_token_matches_itself_alone(secret: str, other: str) -> None:
    found = parse_hash(str(hash_token(secret)))
    assert found.matches(secret)
    assert not found.slow
    assert found.matches(other) == (other == secret)


@settings(max_examples=20, deadline=None)
@given(st.text(min_size=1), st.text())
def test_a_password_matches_itself_alone(secret: str, other: str) -> None:
    found = parse_hash(str(hash_password(secret, log_n=4, rounds=1)))
    assert found.matches(secret)
    assert found.slow
    assert found.matches(other) == (other == secret)


def test_equal_passwords_have_different_hashes_and_a_guess_costs_time() -> None:
    first, second = hash_password("secret"), hash_password("secret")
    assert first.key != second.key
    assert (1 << first.log_n) * first.block * first.rounds >= 2**14 * 8 * 5
    assert "secret" not in str(first)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "sha256:",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "G" * 64,
        "SHA256:" + "0" * 64,
        "sha256:" + "0" * 64 + "\n",
        "md5:" + "0" * 32,
        TEXT.replace("14", "99"),  # more memory than there is
        TEXT.replace("14", "18"),
        TEXT.replace("14", "0"),
        TEXT.replace(":8:", ":"),
        TEXT[:-1],
    ],
)
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_hash(text)


def test_the_text_that_is_wrong_above_is_right_otherwise() -> None:
    assert str(parse_hash(TEXT)) == TEXT
