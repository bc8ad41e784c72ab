"""The S3 front end that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3.serving import Served, served


@pytest.fixture(scope="module")
def front(request: pytest.FixtureRequest) -> Iterator[Served]:
    """With the bucket that the module calls BUCKET, if it does."""
    with served() as made:
        if bucket := getattr(request.module, "BUCKET", ""):
            made.client().create_bucket(Bucket=bucket)
        yield made
