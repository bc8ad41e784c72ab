"""GET /openapi.json: the HTTP contract as OpenAPI 3.1.

Numbers and names come from the code's own tables. The rest is tested: a fuzzer sends requests that it
describes, and many that it does not, to a real server, and compares every answer with it.
"""

from __future__ import annotations

import functools
from typing import cast

import msgspec

from common.version import VERSION
from services.frontends.native.base import BaseHandler
from services.frontends.native.downloads import MAX_LINK_S
from services.frontends.native.openapi_parts import (
    AFTER_ID,
    BLOB,
    DESCRIBED,
    ENTRY,
    ID,
    ID_LIMIT,
    LIMIT,
    LOCATION,
    NEXT_ID,
    PLAIN,
    SCHEMAS,
    SESSION,
    TAGS,
    TIME,
    VALIDATORS,
    WHEN,
    WITH_A_BLOB,
    Json,
    answer,
    error,
    header,
    list_of,
    object_of,
    operation,
    parameter,
    readable,
    with_text_ids,
)
from services.rules.listing import STATES
from services.rules.locations import MAX_LOCATION_BYTES

_ID = parameter("path", "id", ID)
_TEXT: Json = {"type": "string", "pattern": PLAIN, "maxLength": MAX_LOCATION_BYTES}
# A browser asks each time, and mostly gets 304.
_PAGE: Json = {
    "200": answer("The file.", ("ETag",), {"*/*": {}}),
    "304": answer("The client has it.", ("ETag",)),
}


class OpenApiHandler(BaseHandler):
    """/openapi.json"""

    def get(self) -> None:
        """The description."""
        self.set_header("Content-Type", "application/json")
        self.finish(_encoded(self.config.engine))

    head = get


@functools.cache
def _encoded(engine: str) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document(engine)), indent=1) + b"\n"


def document(engine: str = "local") -> Json:
    """The whole description, as JSON values."""
    described = _of_numbered()
    return described if engine == "local" else cast(Json, with_text_ids(described))


def _of_numbered() -> Json:
    """The same for an engine whose ids are numbers."""
    page: Json = {"blobs": list_of(ENTRY), "prefixes": list_of({"type": "string"})}
    page_by_id: Json = {"blobs": list_of(DESCRIBED), "next": NEXT_ID}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Blobkeep",
            "version": VERSION,
            "description": "Named blobs over HTTP, on one machine. A 2xx means: the write survives a power "
            "cut. An error is JSON with a sentence that says what to do.",
        },
        "paths": {
            "/store/{location}": _blob(),
            "/store/": readable(
                "A page of the locations, sorted by code point",
                {
                    "200": answer(
                        "The page: at most `limit` entries and about 4 MiB. `/store/{path}/` is one, "
                        "too, with `prefix={path}/` and `delimiter=/`.",
                        (),
                        {
                            "application/json": object_of(page | {"next": {"type": ["string", "null"]}}),
                            "text/html": {"type": "string"},
                        },
                    )
                },
                [
                    parameter("query", "prefix", _TEXT, "Only what starts so."),
                    parameter(
                        "query", "delimiter", {"enum": ["", "/"]}, "Fold what has it after the prefix."
                    ),
                    parameter("query", "after", _TEXT, "Only what is greater: the `next` of the last page."),
                    LIMIT,
                ],
            ),
            "/blobs/": readable(
                "A page of the blobs in any state, by id",
                {"200": answer("The page.", (), {"application/json": object_of(page_by_id)})},
                [
                    parameter("query", "state", {"enum": sorted(STATES)}),
                    parameter("query", "after", AFTER_ID),
                    ID_LIMIT,
                ],
            ),
            "/blobs/{id}": {
                "parameters": [_ID],
                **readable(
                    "State and history of one blob, while it has a folder",
                    {
                        "200": answer("The blob.", (), {"application/json": BLOB}),
                        "404": error("No blob has this id."),
                    },
                    [],
                ),
            },
            "/session": readable(
                "Who asks, what they may do, and which server this is",
                {"200": answer("That.", (), {"application/json": SESSION})},
                [],
            ),
            "/tickets/{location}": {
                "parameters": [_location()],
                "post": operation(
                    "A link to the blob that anyone may follow for a minute, or for so long as is asked for",
                    {
                        "201": answer(
                            "The link, and when it ends.",
                            (),
                            {"application/json": object_of({"url": {"type": "string"}, "expires": TIME})},
                        ),
                        "404": error("It is not there."),
                    },
                    [
                        parameter(
                            "query",
                            "for",
                            {"type": "integer", "minimum": 1, "maximum": MAX_LINK_S},
                            "Seconds: a signed link, on a server with an access file.",
                        )
                    ],
                ),
                "options": readable("", {}, [])["options"],
            },
            "/downloads/{ticket}": {
                "parameters": [
                    parameter("path", "ticket", {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"})
                ],
                **readable(
                    "Download a blob by such a link",
                    {
                        "200": answer("The blob.", (*WITH_A_BLOB, "Content-Disposition"), {"*/*": {}}),
                        "404": error("The link is too old, or none."),
                    },
                    [],
                ),
            },
            "/blobs/{id}/data": {
                "parameters": [_ID],
                **_read("Read a blob by its id, also while it is kept"),
            },
            "/blobs/{id}/undelete": {"parameters": [_ID], **_undelete()},
            "/healthz": readable(
                "Whether blobs can be served",
                {
                    "200": answer(
                        "They can.",
                        (),
                        {"application/json": {"anyOf": [{"const": "Ok!"}, {"type": "object"}]}},
                    ),
                    "503": answer("They cannot, and why.", (), {"application/json": {"type": "object"}}),
                },
                [parameter("query", "verbose", {"type": "string"}, "All that is known.")],
            ),
            "/": readable("The dashboard", _PAGE, []),
            "/dashboard/{name}": {
                "parameters": [
                    parameter("path", "name", {"type": "string", "pattern": "^[a-z-]+[.][a-z]+$"})
                ],
                **readable("A file of the dashboard", _PAGE | {"404": error("It has no such file.")}, []),
            },
            "/events": readable(
                "What happens, as server-sent events, without end",
                {"200": answer("They.", (), {"text/event-stream": {"type": "string"}})},
                [],
            ),
            "/metrics": readable(
                "Figures for Prometheus", {"200": answer("They.", (), {"text/plain": {"type": "string"}})}, []
            ),
            "/openapi.json": readable(
                "This description", {"200": answer("It.", (), {"application/json": {"type": "object"}})}, []
            ),
        },
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic"},
            },
        },
        "security": [{}, {"token": []}, {"password": []}],
    }


def _undelete() -> Json:
    """/blobs/{id}/undelete"""
    done = ("ETag", "Blob-Id", "Location")
    replace = parameter("query", "replace", {"const": ""}, "Also where another blob is there.")
    return {
        "post": operation(
            "Bring back a blob that was deleted or replaced and is kept, as a new one of its location",
            {
                "201": answer("It is back.", done),
                "200": answer("It is back, in place of another.", done),
                "404": error("Nothing of it is kept, or nothing any more."),
                "409": error("Another blob is there, and ?replace is not said."),
                "412": error("A condition does not hold. Nothing was changed."),
                "507": error("The disk has no room, or all ids are taken."),
            },
            [replace, *_CONDITIONS],
        ),
        "options": operation("What the resource knows", {"204": answer("See Allow.", ("Allow",))}, []),
    }


_METADATA = ("Cache-Control", "Content-Disposition", "Content-Language", "Expires")


_CONDITIONS = [header("If-Match", TAGS), header("If-None-Match", TAGS), header("If-Unmodified-Since")]


def _read(summary: str, **more: Json) -> Json:
    """GET and HEAD of a blob's bytes. `more`: further answers, by status."""
    # What cannot be understood is ignored by reads (RFC 9110), but must not let a write through.
    reading = [header("If-Match", TAGS), header("If-None-Match"), header("If-Unmodified-Since")]
    reading += [header(name) for name in ("If-Modified-Since", "If-Range", "Range")]
    answers = {
        "200": answer("The blob.", WITH_A_BLOB, {"*/*": {}}),
        "206": answer("Parts of it; several are multipart/byteranges.", WITH_A_BLOB, {"*/*": {}}),
        "304": answer("The client has it.", VALIDATORS),
        "404": error("It is not there."),
        "412": error("A condition does not hold. Nothing was changed."),
        "416": error("No byte of the ranges is in it.", ("Content-Range",)),
    }
    return readable(summary, answers | {name.removeprefix("_"): one for name, one in more.items()}, reading)


def _location() -> Json:
    return parameter(
        "path",
        "location",
        {"type": "string", "pattern": LOCATION, "maxLength": MAX_LOCATION_BYTES},
        f"1 to {MAX_LOCATION_BYTES:,} bytes of UTF-8: a path of segments without control characters, none of "
        "them `..`. Segments that are empty or `.` are dropped. An encoded slash is a slash.",
    )


def _blob() -> Json:
    """/store/{location}"""
    condition_failed = error("A condition does not hold. Nothing was changed.")
    conditions = _CONDITIONS
    sending = [header(name) for name in ("Repr-Digest", "Content-Digest", "Content-Encoding", *_METADATA)]
    sending.append(header("Blob-Expires", WHEN))
    body: Json = {"content": {"application/octet-stream": {"schema": {}}}}
    created = answer("It was created.", ("ETag", "Location"))
    refused = {
        "412": condition_failed,
        "413": error("The body is over max_blob_size."),
        "507": error("The disk has no room, or all ids are taken."),
    }
    return {
        "parameters": [_location()],
        **_read(
            "Read a blob",
            _308=answer("HTML was asked for, and blobs are under this name: it is a folder."),
        ),
        "post": operation(
            "Create a blob",
            {"201": created, "409": error("It is there already."), **refused},
            [*conditions, *sending],
            requestBody=body,
        ),
        "put": operation(
            "Update a blob, or create it where put_creates is on",
            {
                "200": answer("It was updated.", ("ETag",)),
                "201": created,
                "404": error("It is not there, and put_creates is off."),
                **refused,
            },
            [*conditions, *sending],
            requestBody=body,
        ),
        "delete": operation(
            "Delete a blob",
            {
                "200": answer("It was deleted."),
                "404": error("It is not there."),
                "412": condition_failed,
                "507": error("The disk is so full that not even this can be noted."),
            },
            conditions,
        ),
    }
