"""The S3 and restic front ends over this engine: their own tests run on an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.engines.objects.client import BucketClient
from services.engines.objects.meter import Meter
from tests.engines.makers import objects_store
from tests.objects.test_system import System
from tests.restic.test_protocol import test_a_repository
from tests.s3 import test_multipart, test_objects
from tests.s3.serving import Served, served
from tests.s3.test_multipart import (
    test_a_part_that_is_sent_again_counts,
    test_a_wrong_completion_changes_nothing,
    test_checksums,
    test_lists_of_uploads_and_parts_come_in_pages,
    test_parts_become_an_object_once,
    test_parts_that_are_copied,
    test_two_completions_of_two_uploads_with_if_none_match,
)
from tests.s3.test_objects import (
    test_a_copy,
    test_a_large_body_in_a_stream,
    test_attributes,
    test_conditions_of_reads,
    test_conditions_of_writes,
    test_many_are_deleted_at_once,
    test_ranges,
    test_the_length_decides_what_the_tag_is,
)
from tests.support.processes import Server
from tests.support.seaweed import Seaweed

__all__ = [
    "test_a_copy",
    "test_a_large_body_in_a_stream",
    "test_a_part_that_is_sent_again_counts",
    "test_a_repository",
    "test_a_wrong_completion_changes_nothing",
    "test_attributes",
    "test_checksums",
    "test_conditions_of_reads",
    "test_conditions_of_writes",
    "test_lists_of_uploads_and_parts_come_in_pages",
    "test_many_are_deleted_at_once",
    "test_parts_become_an_object_once",
    "test_parts_that_are_copied",
    "test_ranges",
    "test_the_length_decides_what_the_tag_is",
    "test_two_completions_of_two_uploads_with_if_none_match",
]


@pytest.fixture(scope="module")
def front(store_process: Seaweed) -> Iterator[Served]:
    settings = store_process.settings()
    with served(make_store=lambda: objects_store(BucketClient(settings, Meter()))) as made:
        for bucket in (test_objects.BUCKET, test_multipart.BUCKET):
            made.client().create_bucket(Bucket=bucket)
        yield made


@pytest.fixture
def s3(front: Served) -> Any:
    client = front.client()
    bucket = test_multipart.BUCKET
    for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    client.delete_object(**test_multipart.WHERE)
    return client


@pytest.fixture(scope="module")
def server(store_process: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("restic")
    system = System(store_process, folder)
    system.env["BLOBKEEP_RESTIC"] = "true"
    yield system.server()
    system.end()
