"""XML: parses requests, within limits and without document types, and builds answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from xml.parsers import expat

from common.times import rfc3339
from services.frontends.s3.errors import S3Error
from services.frontends.s3.names import OWNER_ID

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_MAX_DEPTH = 8
_MAX_ELEMENTS = 100_000  # 10,000 parts have 8 elements each at most
_MAX_TEXT_CHARS = 4096  # of one element: a key of 1,024 bytes, escaped
_ESCAPED = re.compile(r"[&<>\"\x00-\x1f\x7f-\x9f\ufffe\uffff]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


class Element(NamedTuple):
    """One element of a request: its name without a namespace, its text, and its children."""

    name: str
    text: list[str]
    children: list[Element]

    @property
    def value(self) -> str:
        """Its text, unchanged."""
        return "".join(self.text)

    def all(self, name: str) -> list[Element]:
        """Its children with this name."""
        return [child for child in self.children if child.name == name]

    def get(self, name: str) -> str | None:
        """The text of its only child of this name; None if there is none. Raises S3Error for two."""
        found = self.all(name)
        if len(found) > 1:
            raise malformed()
        return found[0].value if found else None


class _Builder:
    def __init__(self) -> None:
        self.open = [Element("", [], [])]
        self._elements = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if len(self.open) > _MAX_DEPTH or self._elements > _MAX_ELEMENTS:
            raise malformed()
        element = Element(name.rpartition(" ")[2], [], [])
        self.open[-1].children.append(element)
        self.open.append(element)

    def end(self, name: str) -> None:
        self.open.pop()

    def text(self, data: str) -> None:
        text = self.open[-1].text
        text.append(data)
        if len(data) > _MAX_TEXT_CHARS or len(text) > _MAX_TEXT_CHARS:
            raise malformed()

    def refuse(self, *_: object) -> None:
        raise malformed()


def parse(body: bytes, root: str) -> Element:
    """Parse `body`, whose element must be `root`. A document type, and so any entity of its own, is refused.

    Raises S3Error: MalformedXML.
    """
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.EntityDeclHandler = builder.refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError):
        raise malformed() from None
    found = builder.open[0].children
    if len(found) != 1 or found[0].name != root:
        raise malformed()
    return found[0]


def malformed() -> S3Error:
    """The error for any document that is not understood."""
    return S3Error("MalformedXML", "The XML you provided was not well-formed or did not validate.")


def escape(text: str) -> str:
    """`text` between tags. A character that XML 1.0 forbids becomes a character reference, as in S3."""
    return _ESCAPED.sub(lambda found: _ENTITIES.get(found[0]) or f"&#x{ord(found[0]):X};", text)


def time_of(at_ns: int) -> str:
    """A time in an answer: Unix time in nanoseconds as ISO 8601, to the millisecond."""
    return rfc3339(at_ns)[:23] + "Z"


def tag(name: str, value: object) -> str:
    """`<name>value</name>`, the value escaped; empty if it is None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        value = "true" if value else "false"
    return f"<{name}>{escape(str(value))}</{name}>"


def block(name: str, *inner: str | Iterable[str]) -> str:
    """An element with inner elements, which are XML already."""
    text = "".join(part if isinstance(part, str) else "".join(part) for part in inner)
    return f"<{name}>{text}</{name}>"


# Inside an element that names an owner or an initiator: all is the server's.
OWNER = tag("ID", OWNER_ID) + tag("DisplayName", OWNER_ID)


def document(name: str, *inner: str | Iterable[str]) -> bytes:
    """A whole answer, in the namespace of S3."""
    text = "".join(part if isinstance(part, str) else "".join(part) for part in inner)
    return DECLARATION + f'<{name} xmlns="{NAMESPACE}">{text}</{name}>'.encode()


def error(code: str, text: str, details: dict[str, str], resource: str, request_id: str) -> bytes:
    """The body of an answer that is an error."""
    named = "".join(tag(name, value) for name, value in details.items())
    return DECLARATION + (
        f"<Error>{tag('Code', code)}{tag('Message', text)}{named}"
        f"{tag('Resource', resource)}{tag('RequestId', request_id)}</Error>"
    ).encode("utf-8", "replace")
