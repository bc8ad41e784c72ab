"""Requests that ask for more than is done here: they are refused, and change nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3.serving import Served, served
from tests.s3.test_objects import BUCKET, ask

BODY = b"a body"


@pytest.fixture(scope="module")
def front() -> Iterator[Served]:
    with served() as made:
        made.client().create_bucket(Bucket=BUCKET)
        for key in ("a", "kept"):
            made.client().put_object(Bucket=BUCKET, Key=key, Body=BODY)
        yield made


@pytest.mark.parametrize(
    "condition",
    [
        "<Size>7</Size>",
        "<Size>6</Size>",
        "<LastModifiedTime>Tue, 15 Nov 1994 12:45:26 GMT</LastModifiedTime>",
    ],
)
def test_a_key_that_is_to_be_deleted_under_a_condition_that_is_not_judged_stays(
    front: Served, condition: str
) -> None:
    """It was deleted, whatever its size and time were."""
    document = f"<Delete><Object><Key>kept</Key>{condition}</Object></Delete>"
    status, said = ask(front, "POST", f"/{BUCKET}?delete", document.encode())
    assert (status, "<Deleted>" in said) == (200, False)
    assert "<Code>NotImplemented</Code>" in said
    assert f"{BUCKET}/kept" in front.store.blobs
