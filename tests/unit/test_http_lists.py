"""Lists in header fields: a comma separates members, but not inside a quoted string."""

from __future__ import annotations

import pytest

from services.http1.limits import Limits
from services.http1.parser import parse_head
from services.rules.listing import wants_html
from services.rules.text import MAX_MEMBERS, list_members
from services.rules.uploads import parse_expect


@pytest.mark.parametrize(
    ("header", "members"),
    [
        ("", []),
        ("a", ["a"]),
        (" a ,\tb,,c ", ["a", "b", "c"]),
        ('"a, b", c', ['""', "c"]),
        ('a="b, c"; d="e,f" , g', ['a=""; d=""', "g"]),
        (r'"a\", b", c', ['""', "c"]),
        ('a, "never closed, b', ["a", '""']),
        ('a"b,c', ['a""']),
        ("\\", ["\\"]),
        ('"\\', ['""']),
        (",,,", []),
    ],
)
def test_members(header: str, members: list[str]) -> None:
    assert list_members(header) == members


@pytest.mark.parametrize("more", ["", '"'])
def test_so_many_members_are_looked_at_and_no_more(more: str) -> None:
    assert list_members("a," * MAX_MEMBERS + "b" + more) == ["a"] * MAX_MEMBERS


@pytest.mark.parametrize("expect", ['a="b, 100-continue, c"', 'a="100-continue,"', r'a="\", 100-continue, "'])
def test_what_is_quoted_expects_no_100(expect: str) -> None:
    assert not parse_expect(expect)
    head = f"PUT / HTTP/1.1\r\nHost: a\r\nExpect: {expect}\r\n".encode()
    assert not parse_head(head, Limits()).expects_continue
    assert parse_expect(f"{expect}, 100-continue")


def test_what_is_quoted_accepts_nothing() -> None:
    assert not wants_html('application/json;x="a, text/html, b"')
    assert wants_html('text/html;x="a, application/json;q=1";q=1, application/json;q=0.5')
