"""A page of a listing as HTML, for browsers and for clients that walk links. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import NamedTuple

# Our own pages hold links and text: nothing else may run, load, or frame them, whatever a name contains.
PAGE_CSP = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class Link(NamedTuple):
    """One line of a page. `href`: relative and percent-encoded; `name` and `about` are plain text."""

    href: str
    name: str
    about: str = ""


def listing_html(title: str, links: Iterable[Link]) -> bytes:
    """The whole page; every name in it is escaped."""
    heading = escape(title)
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f"<title>{heading}</title></head>",
        f"<body><h1>{heading}</h1><pre>",
        *(f'<a href="{escape(link.href)}">{escape(link.name)}</a>  {escape(link.about)}' for link in links),
        "</pre></body></html>",
        "",
    ]
    return "\n".join(lines).encode()
