"""Breaks of what S3 and restic check of a request: who signed it, its body, its conditions, its rights."""

from __future__ import annotations

from tests.mutations.table import Mutation

S3 = "services/frontends/s3"
OBJECTS = "tests/s3/test_objects.py"
RIGHTS = "tests/s3/test_rights.py"
MULTIPART = "tests/s3/test_multipart.py"
PARAMETERS = "tests/s3/test_parameters.py"
COPIES = "tests/s3/test_copies.py"
SIGNING = ("tests/s3/test_sigv4.py",)
CHUNKS = ("tests/s3/test_aws_chunked.py",)

ROWS = [
    Mutation(
        "framing-is-stored-as-the-content",
        f"{S3}/body.py",
        '            if fields.get("x-amz-decoded-content-length", length) != length:\n',
        "            if False:\n",
        ("tests/s3/test_refusals.py::test_a_framed_body_that_is_not_said_to_be_one_is_refused",),
    ),
    Mutation(
        "host-need-not-be-signed",
        f"{S3}/sigv4.py",
        '    if "host" not in signed:\n',
        "    if False:\n",
        SIGNING,
    ),
    Mutation(
        "a-field-of-s3-need-not-be-signed", f"{S3}/sigv4.py", "    if bare:\n", "    if False:\n", SIGNING
    ),
    Mutation(
        "a-presigned-link-without-an-end",
        f"{S3}/sigv4.py",
        "    elif now_s > signed_s + claim.expires_s:\n",
        "    elif False:\n",
        SIGNING,
    ),
    Mutation(
        "signed-at-any-time",
        f"{S3}/sigv4.py",
        "        if abs(now_s - signed_s) > MAX_SKEW_S:\n",
        "        if False:\n",
        SIGNING,
    ),
    Mutation(
        "signed-for-another-service",
        f"{S3}/sigv4.py",
        '    if service != "s3":\n',
        "    if False:\n",
        SIGNING,
    ),
    Mutation(
        "a-chunk-by-anybody",
        f"{S3}/aws_chunked.py",
        "        if not hmac.compare_digest(right, signature):\n",
        "        if False:\n",
        CHUNKS,
    ),
    Mutation(
        "framing-stays-where-the-content-is-received",
        f"{S3}/aws_chunked.py",
        "                if size != at:\n",
        "                if False:\n",
        CHUNKS,
    ),
    Mutation(
        "chunks-in-any-order",
        f"{S3}/aws_chunked.py",
        "        self._last = right\n",
        "        pass\n",
        CHUNKS,
    ),
    Mutation(
        "a-trailer-by-nobody",
        f"{S3}/aws_chunked.py",
        "            if signature is None:\n",
        "            if False:\n",
        CHUNKS,
    ),
    Mutation(
        "chunks-that-stop-early",
        f"{S3}/aws_chunked.py",
        "        if self._state != self._read_trailer:\n",
        "        if False:\n",
        CHUNKS,
    ),
    Mutation(
        "another-body-than-was-signed",
        f"{S3}/body.py",
        "            if not hmac.compare_digest(sha256.hex(), self._sha256):\n",
        "            if False:\n",
        (f"{OBJECTS}::test_a_body_that_was_changed_on_the_way_is_refused",),
    ),
    Mutation(
        "another-body-than-its-md5",
        f"{S3}/body.py",
        "            if self._content_md5 is not None and raw != self._content_md5:\n",
        "            if False:\n",
        (f"{OBJECTS}::test_a_put_that_is_refused_leaves_nothing",),
    ),
    Mutation(
        "another-body-than-its-checksum",
        f"{S3}/body.py",
        "        if wanted is not None and self._promised(wanted) != computed:\n",
        "        if False:\n",
        (f"{OBJECTS}::test_a_put_that_is_refused_leaves_nothing",),
    ),
    Mutation(
        "an-unknown-checksum-is-not-compared",
        f"{S3}/fields.py",
        "            if name not in _FREE and name not in own and not name.startswith(_META):\n",
        "            if name not in _FREE and name not in own and not name.startswith((_META, HEADER)):\n",
        (OBJECTS,),
    ),
    Mutation(
        "a-lock-that-is-not-kept",
        f"{S3}/fields.py",
        '        raise not_implemented(f"The header {name}")\n',
        "        return\n",
        (
            f"{OBJECTS}::test_what_is_not_there_is_501",
            f"{OBJECTS}::test_a_put_that_is_refused_leaves_nothing",
        ),
    ),
    Mutation(
        "bytes-of-a-range-become-the-object",
        f"{S3}/fields.py",
        '_NOT_OF_WRITES = ("if-modified-since", "content-range", *_DIGESTS)',
        '_NOT_OF_WRITES = ("if-modified-since", *_DIGESTS)',
        (f"{PARAMETERS}::test_a_write_of_a_range_is_refused",),
    ),
    Mutation(
        "a-list-of-version-1-from-a-token-of-version-2",
        f"{S3}/routes.py",
        '        ("", "ListObjects", _LIST_KEYS | {"marker"}),\n',
        '        ("", "ListObjects", _LIST_KEYS | {"marker", "continuation-token"}),\n',
        (f"{PARAMETERS}::test_a_parameter_of_other_operations_is_refused",),
    ),
    Mutation(
        "a-parameter-that-is-said-to-be-honoured",
        f"{S3}/lists.py",
        '            return request.text("marker")\n',
        '            return ""\n',
        (f"{PARAMETERS}::test_each_parameter_is_honoured_or_refused",),
    ),
    Mutation(
        "a-condition-that-no-write-judges",
        f"{S3}/fields.py",
        "or (name in _CONDITIONS and operation not in _CONDITIONAL)",
        "",
        (f"{PARAMETERS}::test_a_condition_of_a_write_that_does_not_hold_prevents_it",),
    ),
    Mutation(
        "a-small-put-is-not-judged",
        f"{S3}/fields.py",
        "    if name in _CONDITIONS or name in _NOT_OF_WRITES:\n        return True\n",
        "",
        (f"{PARAMETERS}::test_a_write_of_a_range_is_refused",),
    ),
    Mutation(
        "fields-of-a-link-where-nobody-signs",
        f"{S3}/handler.py",
        "                fields.setdefault(name.lower(), value)\n",
        "                if claim is not None:\n                    fields.setdefault(name.lower(), value)\n",
        (f"{PARAMETERS}::test_what_a_link_says_counts_where_nobody_must_sign",),
    ),
    Mutation(
        "a-completion-with-a-checksum-that-nobody-compares",
        f"{S3}/completing.py",
        '            self._check_said(None, "", None)\n',
        "",
        (f"{MULTIPART}::test_a_checksum_that_cannot_be_compared_is_refused",),
    ),
    Mutation(
        "a-copy-keeps-the-checksums-of-parts",
        f"{S3}/stored.py",
        'source.metadata[PARTS].partition(";")[0]',
        "source.metadata[PARTS]",
        (COPIES,),
    ),
    Mutation(
        "a-checksum-of-another-source",
        f"{S3}/copying.py",
        "source_condition(request.fields, source.version)",
        "source_condition(request.fields)",
        (COPIES,),
    ),
    Mutation(
        "a-completion-with-other-parts-gets-the-answer-of-the-first",
        f"{S3}/completing.py",
        "all(map(_TAG.fullmatch, tags)) and multipart_tag(tags) == etag",
        "True",
        (MULTIPART,),
    ),
    Mutation(
        "a-part-by-another-tag",
        f"{S3}/completing.py",
        "        if part is None or tag != part_tag(part) or not _same_checksums(part, one):\n",
        "        if part is None:\n",
        (MULTIPART,),
    ),
    Mutation(
        "a-put-replaces-whatever-if-match-says",
        f"{S3}/etags.py",
        '        _check(wanted, blob, "PUT")\n',
        "        pass\n",
        (f"{OBJECTS}::test_conditions_of_writes",),
    ),
    Mutation(
        "a-delete-whatever-if-match-says",
        f"{S3}/etags.py",
        '            _check(wanted, blob, "DELETE")\n',
        "            pass\n",
        (f"{OBJECTS}::test_conditions_of_writes",),
    ),
    Mutation(
        "who-may-only-add-replaces",
        f"{S3}/etags.py",
        "            check_update()\n",
        "            pass\n",
        (RIGHTS,),
    ),
    Mutation(
        "a-copy-of-what-it-may-not-read",
        f"{S3}/copying.py",
        "    request.check(Action.READ, source.location)\n",
        "",
        (RIGHTS,),
    ),
    Mutation(
        "many-deleted-outside-of-the-prefix",
        f"{S3}/writing.py",
        "            request.check(Action.DELETE, location)\n",
        "",
        (RIGHTS,),
    ),
    Mutation(
        "a-bucket-that-is-not-empty-is-deleted",
        f"{S3}/buckets.py",
        '        if (await request.store.list(f"{bucket}/", "", "", 1)).blobs:\n',
        "        if False:\n",
        ("tests/s3/test_buckets.py::test_the_life_of_a_bucket",),
    ),
    Mutation(
        "a-bucket-listed-outside-of-the-prefix",
        f"{S3}/lists.py",
        '        request.check(Action.READ, f"{request.target.bucket}/{self._prefix}")\n',
        "",
        (RIGHTS,),
    ),
    Mutation(
        "a-part-of-an-upload-that-is-over",
        f"{S3}/parts_in_blobs.py",
        "            await self._parts.check_begun(self._location, self._upload_id)\n",
        "            pass\n",
        ("tests/engines/test_multiparts.py",),
    ),
    Mutation(
        "a-part-that-was-sent-again-meanwhile",
        f"{S3}/parts_in_blobs.py",
        "                if reading.blob.version != part.id:\n",
        "                if False:\n",
        ("tests/engines/test_multiparts.py",),
    ),
    Mutation(
        "uploads-dropped-while-they-are-sent",
        f"{S3}/parts_in_blobs.py",
        "                newest_ns = max(newest_ns, part.modified_ns)\n",
        "                pass\n",
        ("tests/engines/test_multiparts.py",),
    ),
    Mutation(
        "a-restic-file-is-not-compared-with-its-name",
        "services/frontends/restic/handlers.py",
        "                if (await upload.sha256()).hex() != self.named.sha256:\n",
        "                if False:\n",
        ("tests/restic/test_small_uploads.py", "tests/restic/test_protocol.py::test_a_repository"),
    ),
    Mutation(
        "small-put-answered-while-it-is-written",
        f"{S3}/plain_puts.py",
        "            await shared.store.write_whole(location, unconditional, content, body, digest)\n",
        "            coroutine = shared.store.write_whole(location, unconditional, content, body, digest)\n"
        '            self._writing = __import__("asyncio").ensure_future(coroutine)\n',
        ("tests/cuts/test_acknowledged.py",),
    ),
    Mutation(
        "small-restic-file-answered-while-it-is-written",
        "services/frontends/restic/small_uploads.py",
        "                await store.write_whole(named.location, condition, FILE_TYPE, self._body, digest)\n",
        "                coroutine = store.write_whole(\n"
        "                    named.location, condition, FILE_TYPE, self._body, digest\n"
        "                )\n"
        '                self._writing = __import__("asyncio").ensure_future(coroutine)\n',
        ("tests/cuts/test_acknowledged.py",),
    ),
    Mutation(
        "uploads-that-nobody-continues-stay",
        "services/frontends/front_door.py",
        "swept = sum([await parts.sweep(self._expiry_s) for parts in _all_parts(self._store)])",
        "swept = sum([await parts.sweep(self._expiry_s) for parts in _all_parts(self._store)[:1]])",
        ("tests/s3/test_server.py::test_a_port_of_its_own_and_uploads_that_nobody_continues",),
    ),
    Mutation(
        "who-may-only-add-deletes-a-snapshot",
        "services/frontends/restic/handlers.py",
        'gives_back = action is Action.DELETE and self.named.kind == "locks"',
        "gives_back = action is Action.DELETE",
        ("tests/restic/test_protocol.py::test_private_and_append_only",),
    ),
    Mutation(
        "key-deleted-under-a-condition-that-is-not-judged",
        f"{S3}/writing.py",
        "                if child.name not in _OF_A_KEY:\n",
        "                if False:\n",
        ("tests/s3/test_refusals.py",),
    ),
    Mutation(
        "checksum-in-a-trailer-that-nobody-looks-at",
        f"{S3}/body.py",
        "            self._check_trailers(self._decoder.trailers)\n",
        "",
        ("tests/s3/test_refusals.py",),
    ),
    Mutation(
        "part-goes-on-without-its-client",
        f"{S3}/part_puts.py",
        'asyncio.ensure_future(self._operation.abort("connection lost"))',
        "asyncio.ensure_future(asyncio.sleep(0))",
        ("tests/s3/test_part_puts.py",),
    ),
    Mutation(
        "part-with-a-lock-that-is-not-kept",
        f"{S3}/fast_path.py",
        'if kind.is_judged and decide("PUT", asked, given,',
        'if False and decide("PUT", asked, given,',
        ("tests/s3/test_part_puts.py",),
    ),
]
