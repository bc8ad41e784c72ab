"""XML: what is written is read back the same, and no request can keep the parser busy for long."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.frontends.s3 import xml
from services.frontends.s3.errors import S3Error

# Text that XML 1.0 can contain. Its line ends become LF, unless they are written as references.
READABLE = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(32)), "\ufffe", "\uffff"])
    | st.sampled_from("\t\n\r"),
    max_size=50,
)


@given(READABLE)
def test_what_is_written_reads_back_the_same(text: str) -> None:
    body = xml.document("Root", xml.block("Inner", xml.tag("Key", text)))
    assert ElementTree.fromstring(body).findtext(f"{{{xml.NAMESPACE}}}Inner/{{{xml.NAMESPACE}}}Key") == text
    inner = xml.parse(body, "Root").all("Inner")[0]
    assert (inner.get("Key") or "") == text


@given(st.text(max_size=50))
def test_an_answer_has_no_bare_control_character(text: str) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", xml.tag("Key", text))


@given(st.binary(max_size=200))
def test_noise_is_malformed(noise: bytes) -> None:
    with pytest.raises(S3Error):
        xml.parse(noise, "Delete")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<Delete>",
        b"<Other/>",
        b'<!DOCTYPE Delete [<!ENTITY a "b">]><Delete>&a;</Delete>',
        b'<!DOCTYPE Delete SYSTEM "file:///etc/passwd"><Delete/>',
        b"<Delete>" + b"<a>" * 9 + b"</a>" * 9 + b"</Delete>",
        b"<Delete>" + b"<a/>" * 100_001 + b"</Delete>",
        b"<Delete><Key>" + b"k" * 100_000 + b"</Key></Delete>",
        b"<Delete>&unknown;</Delete>",
        b"\xff\xfe<Delete/>",
    ],
)
def test_refused(body: bytes) -> None:
    with pytest.raises(S3Error) as raised:
        xml.parse(body, "Delete")
    assert raised.value.code == "MalformedXML"


def test_namespaces_make_no_difference() -> None:
    plain = xml.parse(b"<Delete><Quiet>true</Quiet></Delete>", "Delete")
    named = xml.parse(f'<Delete xmlns="{xml.NAMESPACE}"><Quiet>true</Quiet></Delete>'.encode(), "Delete")
    assert plain.get("Quiet") == named.get("Quiet") == "true"
    assert plain.get("Nothing") is None
    with pytest.raises(S3Error):
        xml.parse(b"<Delete><Quiet/><Quiet/></Delete>", "Delete").get("Quiet")
