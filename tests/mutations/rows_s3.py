"""Breaks of what S3 and restic add: their requests, links, copies."""

from __future__ import annotations

from tests.mutations.table import Mutation

FAST = "tests/s3/test_fast_path.py"
OTHERS_PARTS = (
    "tests/process/test_access_matrix.py::test_uploads_in_parts_of_others_are_changed_by_who_may_change_blobs",
)
PLAIN_PUT = (f"{FAST}::test_a_plain_put_is_answered_as_the_handler_does",)

BY_HAND = "tests/s3/test_objects.py::test_what_a_record_made_by_hand_says_is_not_believed"
ALIKE = "services/frontends/s3/signed_alike.py"
ALIKE_TESTS = ("tests/s3/test_signed_alike.py",)

ROWS = [
    Mutation(
        "a-small-put-with-any-crc",
        "services/frontends/s3/plain_puts.py",
        "fields[name] == [value] and ",
        "",
        (f"{FAST}::test_what_is_put_is_answered_alike",),
    ),
    Mutation(
        "a-small-put-without-the-crc-that-it-came-with",
        "services/frontends/s3/plain_puts.py",
        "            kept[CHECKSUM + crc[0].removeprefix(HEADER)] = crc[1]\n",
        "            pass\n",
        (f"{FAST}::test_what_is_put_is_answered_alike",),
    ),
    Mutation(
        "tiny-pieces-of-a-hashed-body-pile-up",
        "services/frontends/digests.py",
        "_MOST_PIECES = 64",
        "_MOST_PIECES = 1 << 30",
        ("tests/unit/test_digests.py::test_tiny_pieces_do_not_pile_up",),
    ),
    Mutation(
        "all-parts-have-one-tag",
        "services/frontends/s3/multipart.py",
        "if name.startswith(CHECKSUM))",
        "if name.startswith(ETAG))",
        ("tests/s3/test_fast_etags.py",),
    ),
    Mutation(
        "parts-of-an-object-as-a-record-says",
        "services/frontends/s3/stored.py",
        "return sizes if sizes is not None and sum(sizes) == blob.size else None",
        "return sizes",
        (BY_HAND,),
    ),
    Mutation(
        "tag-of-an-object-as-a-record-says",
        "services/frontends/s3/etags.py",
        "tag if tag is not None and _TAG.fullmatch(tag) else None",
        "tag",
        (BY_HAND,),
    ),
    Mutation(
        "signed-alike-at-any-time",
        ALIKE,
        "abs(now_s - signed_s) > sigv4.MAX_SKEW_S or ",
        "",
        ALIKE_TESTS,
    ),
    Mutation(
        "signed-alike-by-a-secret-that-was-replaced", ALIKE, " or found[1] != way.secret", "", ALIKE_TESTS
    ),
    Mutation("signed-alike-on-another-day", ALIKE, "not date.startswith(way.day) or ", "", ALIKE_TESTS),
    Mutation(
        "signed-alike-without-a-look-at-the-signature",
        ALIKE,
        "if not hmac.compare_digest(",
        "if False and hmac.compare_digest(",
        ALIKE_TESTS,
    ),
    Mutation(
        "similar-head-for-another-host",
        "services/http1/similar_fields.py",
        '_JUDGED = frozenset({"Host", ',
        "_JUDGED = frozenset({",
        ("tests/http1/test_similar_fields.py",),
    ),
    Mutation(
        "fast-path-of-s3-without-a-prefix",
        "services/frontends/s3/fast_path.py",
        "(client is not None and not client.may(Action.READ, location))",
        "False",
        (f"{FAST}::test_the_same_may_be_read_by_the_same",),
    ),
    Mutation(
        "small-put-of-who-may-only-read",
        "services/frontends/s3/writing.py",
        "request.check(Action.CREATE, request.location)\n        content = content_of",
        "content = content_of",
        (f"{FAST}::test_what_is_put_is_answered_alike",),
    ),
    Mutation(
        "who-may-only-add-aborts-what-others-upload",
        "services/frontends/s3/multipart.py",
        "            check_begun_by(request, begun, Action.DELETE)\n",
        "",
        OTHERS_PARTS,
    ),
    Mutation(
        "who-may-only-add-sends-the-parts-of-others-again",
        "services/frontends/s3/multipart.py",
        "    if upload.content.metadata.get(BEGUN_BY) != request.user:\n",
        "    if False:\n",
        OTHERS_PARTS,
    ),
    Mutation(
        "plain-put-of-other-bytes-than-were-signed",
        "services/frontends/s3/plain_puts.py",
        "if payload not in (digest.hex(), UNSIGNED):",
        "if False:",
        PLAIN_PUT,
    ),
    Mutation(
        "plain-put-of-who-may-not-replace",
        "services/frontends/s3/plain_puts.py",
        "            or not (client is None or client.may(Action.UPDATE, location))\n",
        "",
        PLAIN_PUT,
    ),
    Mutation(
        "sha256-of-what-had-come-before",
        "services/engines/local/serving/upload.py",
        "                if self._hashed_bytes != outgoing.size:  # more came since\n",
        "                if False:\n",
        ("tests/perf/test_hashed_once.py",),
    ),
    Mutation(
        "small-put-of-a-page-of-another-origin",
        "services/frontends/s3/fast_path.py",
        'frozenset(("Expect", "Origin", "Sec-Fetch-Site", "Transfer-Encoding"))',
        'frozenset(("Expect", "Transfer-Encoding"))',
        (f"{FAST}::test_what_is_put_is_answered_alike",),
    ),
    Mutation(
        "fast-path-of-s3-shows-what-was-replaced",
        "services/frontends/s3/fast_path.py",
        "(known[0] is not blob and known[0].version != blob.version)",
        "False",
        (f"{FAST}::test_what_was_replaced_or_deleted_is_not_shown_again",),
    ),
    Mutation(
        "source-of-a-copy-known-by-its-object",
        "services/engines/local/serving/copies.py",
        "        if is_same(await store.stat(blob.location), blob):\n",
        "        if await store.stat(blob.location) is blob:\n",
        ("tests/store/test_copies.py::test_an_index_that_makes_its_blobs_anew_does_not_look_like_a_change",),
    ),
    Mutation(
        "small-restic-file-is-not-compared-with-its-name",
        "services/frontends/restic/small_uploads.py",
        "if digest.hex() == named.sha256:",
        "if self._body:",
        ("tests/restic/test_small_uploads.py",),
    ),
    Mutation(
        "small-restic-file-from-anybody",
        "services/frontends/restic/small_uploads.py",
        "if not named.sha256 or not access.permits(Action.CREATE, named.location, authorization_of(head)):",
        "if not named.sha256:",
        ("tests/restic/test_small_uploads.py",),
    ),
    Mutation(
        "move-in-two-records",
        "services/engines/local/serving/group_commit.py",
        "change.entries() for change in alive if change.after is None",
        "change.entries()[:1] for change in alive",
        ("tests/crashes/test_copies.py",),
    ),
    Mutation(
        "source-deleted-though-the-copy-failed",
        "services/engines/local/serving/change.py",
        "            return self.after.error\n",
        "            return None\n",
        ("tests/store/test_copies.py",),
    ),
    Mutation(
        "source-moved-though-it-was-written-meanwhile",
        "services/engines/local/serving/store.py",
        "            if not index.shows(source):\n",
        "            if False:\n",
        ("tests/store/test_copies.py",),
    ),
    Mutation(
        "digest-behind-the-body-not-checked",
        "services/frontends/native/promised_digests.py",
        "        promised = [*self._promised.items(), *expected_digests(behind).items()]\n",
        "        promised = [*self._promised.items()]\n",
        ("tests/http/test_digests.py",),
    ),
    Mutation(
        "moved-without-the-right-to-delete",
        "services/frontends/native/blobs.py",
        "            if self._order.move:\n",
        "            if False:\n",
        ("tests/http/test_copies.py::test_both_sides_must_be_the_clients",),
    ),
    Mutation(
        "copied-without-the-right-to-read",
        "services/frontends/native/blobs.py",
        "            self.client.check(Action.READ, self._order.source)\n",
        "",
        ("tests/http/test_copies.py::test_both_sides_must_be_the_clients",),
    ),
    Mutation(
        "link-good-for-every-location",
        "services/access/links.py",
        "{kind}\\n{location}\\n{expires_s}",
        "{kind}\\n{expires_s}",
        ("tests/http/test_links.py",),
    ),
    Mutation(
        "who-may-only-add-replaces-a-damaged-config",
        "services/frontends/restic/handlers.py",
        "            self.client.check(Action.UPDATE, self.location)\n",
        "            pass\n",
        ("tests/restic/test_protocol.py::test_private_and_append_only",),
    ),
    Mutation(
        "link-without-an-end",
        "services/access/links.py",
        "    if now_s >= int(expires):\n",
        "    if False:\n",
        ("tests/http/test_links.py",),
    ),
    Mutation(
        "public-without-its-prefix",
        "services/access/decisions.py",
        "location is not None and location.startswith(self.public):",
        "location is not None:",
        ("tests/http/test_links.py",),
    ),
    Mutation(
        "every-origin-is-trusted",
        "services/rules/cors.py",
        "return origin is not None and (self._any or origin.lower() in self._origins)",
        "return origin is not None",
        ("tests/http/test_links.py",),
    ),
    Mutation(
        "digest-without-what-the-timer-took",
        "services/engines/local/serving/upload.py",
        "        await self._until_written()\n        self._must_go_on()\n",
        "        self._must_go_on()\n",
        ("tests/store/test_upload_pieces.py",),
    ),
    Mutation(
        "any-number-of-small-chunks",
        "services/frontends/s3/aws_chunked.py",
        "if self._small_chunks > _SMALL_CHUNKS:",
        "if False:",
        ("tests/s3/test_aws_chunked.py",),
    ),
    Mutation(
        "a-long-list-made-at-once",
        "services/frontends/s3/slices.py",
        "_SLICE = 50",
        "_SLICE = 5000",
        ("tests/s3/test_turns.py",),
    ),
    Mutation(
        "deletes-of-one-request-in-one-turn",
        "services/frontends/s3/writing.py",
        "                await asyncio.sleep(0)  # one",
        "                # one",
        ("tests/s3/test_turns.py",),
    ),
    Mutation(
        "many-parts-judged-on-the-loop",
        "services/frontends/s3/completing.py",
        "judge() if len(wanted) <= _FEW_PARTS else await asyncio.to_thread(judge)",
        "judge()",
        ("tests/s3/test_turns.py",),
    ),
]
