"""Clients that also use S3 and restic, and copy and move on the server. A copy or a move names its source by
the tag, so it is known what one without an answer may have done.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any, ClassVar

from tests.support.linearizable import Call, Move
from tests.torture.clients import Client

S3 = "/s3/"
RESTIC = "/restic/"
_PARTS_BYTES = ([20_000], [300_000], [5 << 20, 1000])  # all but the last part have 5 MiB or more


class ManyDoors(Client):
    """See the module docstring. `pair`: two of the locations, between which it moves."""

    KINDS: ClassVar[dict[str, tuple[int, int]]] = {
        **Client.KINDS,
        "put": (8, 8),
        "get": (8, 6),
        "clear": (3, 8),
        "multipart": (3, 3),
        "restic": (4, 4),
        "copy": (5, 5),
        "copy_object": (4, 4),
        "move": (10, 14),
    }

    def __init__(self, *args: Any, pair: tuple[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._pair = pair
        self._s3_tags = self._record.s3_etags

    # --- S3 ---

    def do_put(self, location: str) -> None:
        """PutObject creates or replaces."""
        number, body = self._record.bodies.make(self._size())
        began = time.monotonic()
        self._put(location, began, number, self._ask("PUT", location, body, door=S3))

    def do_get(self, location: str) -> None:
        """GetObject."""
        began = time.monotonic()
        answer = self._ask("GET", location, door=S3)
        if answer is None:
            return
        status, headers, body = answer
        if status == 200:
            number = self._saw(location, began, body, 0, len(body))
            if number is not None:
                self._s3_tags[location] = (headers["etag"], number)
        elif status == 404:
            self._note(location, "read", began)
        else:
            self._refused("get", location, status, body)

    def do_clear(self, location: str) -> None:
        """DeleteObject gets 204, whether an object is there or not."""
        began = time.monotonic()
        answer = self._ask("DELETE", location, door=S3)
        if answer is None:
            self._left_open(location, "clear", began)
        elif answer[0] == 204:
            self._note(location, "clear", began)
        else:
            self._refused("clear", location, answer[0], answer[2])

    def do_multipart(self, location: str) -> None:
        """An upload in parts. A completion without an answer is sent again, once."""
        sizes = self._rng.choices(_PARTS_BYTES, (8, 3, 1))[0]
        number, body = self._record.bodies.make(sum(sizes))
        begun = self._ask("POST", location + "?uploads", b"", door=S3)
        if begun is None or begun[0] != 200:
            return self._refused_if("multipart", location, begun)
        upload = begun[2].partition(b"<UploadId>")[2].partition(b"<")[0].decode()
        named, at = b"", 0
        for part, size in enumerate(sizes, 1):
            target = f"{location}?partNumber={part}&uploadId={upload}"
            sent = self._ask("PUT", target, body[at : at + size], door=S3)
            if sent is None or sent[0] != 200:
                return self._refused_if("part", location, sent)
            tag = sent[1]["etag"].encode()
            named += b"<Part><PartNumber>%d</PartNumber><ETag>%b</ETag></Part>" % (part, tag)
            at += size
        order = b"<CompleteMultipartUpload>%b</CompleteMultipartUpload>" % named
        began = time.monotonic()
        answer = self._ask("POST", f"{location}?uploadId={upload}", order, door=S3)
        if answer is None:
            time.sleep(0.5)
            again = self._ask("POST", f"{location}?uploadId={upload}", order, door=S3)
            if again is not None and again[0] == 200:
                self._record.counts["completed again"] += 1
                answer = again  # otherwise it may have been completed, and replaced
        return self._put(location, began, number, answer)

    def do_copy_object(self, location: str) -> None:
        """CopyObject of what was seen of another location."""
        source = self._rng.choice([one for one in self._locations if one != location])
        tag, number = self._s3_tags.get(source, ('"none"', 0))
        fields = {"x-amz-copy-source": source, "x-amz-copy-source-if-match": tag, "Content-Length": "0"}
        began = time.monotonic()
        answer = self._ask("PUT", location, None, fields, door=S3)
        if answer is None:
            if number:
                self._left_open(location, "put", began, number)
        elif answer[0] == 200:
            self._note(location, "put", began, number)
            self._note(source, "read", began, number)
        elif answer[0] == 404:
            self._note(source, "read", began)
        # the same bytes may have another tag, which depends on how they came
        elif answer[0] not in (412, 409):
            self._refused("copy_object", location, answer[0], answer[2])

    # --- restic ---

    def do_restic(self, _location: str) -> None:
        """A file whose name is the hash of its bytes, so only this client uses it. It is sent until there is
        an answer (200 also if it came before), read, and deleted."""
        _, body = self._record.bodies.make(self._size())
        name = f"torture/data/{hashlib.sha256(body).hexdigest()}"
        sent = self._until_answered("POST", name, body)
        if sent is not None and sent[0] == 200:
            found = self._until_answered("GET", name)
            if found is not None and found[0] != 503 and (found[0], found[2]) != (200, body):
                self._record.complain(
                    f"restic: {name} was answered for, and is {found[0]}: {found[2][:50]!r}"
                )
            self._record.counts["restic"] += 1
        elif sent is not None:
            self._refused("restic", name, sent[0], sent[2])
        gone = self._until_answered("DELETE", name)
        if gone is not None and gone[0] == 200:
            there = self._ask("GET", name, door=RESTIC)
            if there is not None and there[0] not in (404, 503):
                self._record.complain(f"restic: {name} was deleted, and is answered with {there[0]}")

    def _until_answered(
        self, method: str, name: str, body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes] | None:
        """None if the campaign ends before."""
        while (answer := self._ask(method, name, body, door=RESTIC)) is None:
            if self._stopping.wait(0.05):
                return None
        return answer

    # --- copies and moves, natively ---

    def do_copy(self, location: str) -> None:
        """A copy of exactly what was seen, to a location without a blob."""
        source = self._rng.choice([one for one in self._locations if one != location])
        number, began, answer = self._take("Blob-Copy-From", source, location)
        if answer is None:
            if number:
                self._left_open(location, "create", began, number)
        elif answer[0] == 201:
            self._note(location, "create", began, number)
            self._note(source, "read", began, number)
        else:
            self._not_taken("copy", source, location, began, number, answer)

    def do_move(self, location: str) -> None:
        """A move of exactly what was seen, from one of the pair to the other, which has no blob."""
        at = self._rng.randrange(2)
        source, target = self._pair[at], self._pair[1 - at]
        number, began, answer = self._take("Blob-Move-From", source, target)
        if answer is None or answer[0] == 201:
            self._moved(source, target, began, number, at, is_sure=answer is not None)
        else:
            self._not_taken("move", source, target, began, number, answer)

    def _moved(self, source: str, target: str, began: float, number: int, at: int, *, is_sure: bool) -> None:
        """A move was answered with 201, or not at all."""
        end = time.monotonic() if is_sure else None
        self._record.add_move(Move(began, end, number, at))

    def _take(
        self, how: str, source: str, target: str
    ) -> tuple[int, float, tuple[int, dict[str, str], bytes] | None]:
        """(the write that was seen at `source`, the time of the request, the answer)."""
        tag, number = self._record.etags.get(source, ('"none"', 0))
        fields = {how: f"/store/{source}", "Blob-If-Match": tag, "Content-Length": "0"}
        began = time.monotonic()
        return number, began, self._ask("POST", target, None, fields)

    def _not_taken(
        self,
        kind: str,
        source: str,
        target: str,
        began: float,
        number: int,
        answer: tuple[int, dict[str, str], bytes],
    ) -> None:
        status = answer[0]
        if status == 409:
            self._note(target, "exists", began)
        elif status == 404:
            self._note(source, "read", began)
        elif status == 412:
            self._note(source, "differs", began, None, number)
        else:
            self._refused(kind, target, status, answer[2])

    # --- inside ---

    def _put(
        self, location: str, began: float, number: int, answer: tuple[int, dict[str, str], bytes] | None
    ) -> None:
        if answer is None:
            self._left_open(location, "put", began, number)
        elif answer[0] == 200:
            self._note(location, "put", began, number)
        else:
            self._refused("put", location, answer[0], answer[2])

    def _refused_if(self, kind: str, location: str, answer: tuple[int, dict[str, str], bytes] | None) -> None:
        if answer is not None:
            self._refused(kind, location, answer[0], answer[2])


class StoreDoors(ManyDoors):
    """The same on an object store, where a move is a copy and then a delete, so others see the state in
    between.
    """

    def _moved(self, source: str, target: str, began: float, number: int, at: int, *, is_sure: bool) -> None:
        if not number:
            return
        end = time.monotonic() if is_sure else None
        self._record.add(target, Call("create", began, end, number, client=self._number))
        self._record.add(source, Call("take", began, end, None, number, self._number))
