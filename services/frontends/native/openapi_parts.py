"""The parts of the description of the HTTP contract: schemas, header fields, answers. Pure."""

from __future__ import annotations

from typing import Any

from services.access.decisions import Role
from services.rules.answers import STORED_CSP
from services.rules.listing import DEFAULT_ID_LIMIT, DEFAULT_LIMIT, MAX_ID_LIMIT, MAX_LIMIT, STATES

Json = dict[str, Any]

ERROR = {"$ref": "#/components/schemas/Error"}
ENTRY = {"$ref": "#/components/schemas/Entry"}
DESCRIBED = {"$ref": "#/components/schemas/Described"}
BLOB = {"$ref": "#/components/schemas/Blob"}
SESSION = {"$ref": "#/components/schemas/Session"}

# What a client may say and see in any text: no control characters (C0, DEL, C1).
PLAIN = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"
# An HTTP date, or seconds from now.
WHEN = "^([0-9]{1,10}|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT)$"
# As locations are given back: `.` and empty segments, which are dropped, are not in it.
LOCATION = r"^(?!(.*/)?\.{1,2}(/|$))[^/\u0000-\u001f\u007f-\u009f]+(/[^/\u0000-\u001f\u007f-\u009f]+)*$"
TAG = r'^"[0-9a-f]{64}"$'
TAGS = r'^(\*|(W/)?"[!#-~]*"([ ]*,[ ]*(W/)?"[!#-~]*")*)$'
DIGEST = "^sha-256=:[A-Za-z0-9+/]{43}=:$"
MAX_ID = 2**32 - 1

# What any request may be answered with, whatever it asks for.
ANYWHERE = {
    "400": "The request is wrong; the text says what to change.",
    "401": "No token, user or password, or a wrong one, where the server has an access file.",
    "403": "The client may not do this, or a page of another origin asked for it.",
    "408": "The head or the body came too slowly.",
    "414": "The target is too long.",
    "421": "An open server on the loopback address does not answer to this host name.",
    "431": "The head is too long.",
    "500": "The server met an error; of a blob: it is damaged on disk.",
    "501": "A transfer coding other than chunked.",
    "503": "Too much at once, or the server cannot serve now.",
    "505": "Another version of HTTP than 1.x.",
}

TIME = {"type": "string", "format": "date-time"}
# Ids of the engine local; those of the engine objects are text: see `with_text_ids`.
ID = {"type": "integer", "minimum": 0, "maximum": MAX_ID}
AFTER_ID = {"type": "integer", "minimum": 0, "maximum": 10**10 - 1}
NEXT_ID = {"type": ["integer", "null"]}
_TEXT_ID = {"type": "string", "pattern": "^[0-9a-z]{26}\\.[0-9A-Za-z_-]*$"}
_SIZE = {"type": "integer", "minimum": 0}
_OF_ENTRY: Json = {
    "location": {"type": "string", "minLength": 1},
    "id": ID,
    "size": _SIZE,
    "etag": {"type": "string", "pattern": TAG},
    "modified": TIME,
    "type": {"type": "string"},
}
# Of a blob in any state: what only a complete or kept one has may be null.
_OF_DESCRIBED: Json = {
    **_OF_ENTRY,
    "size": {"type": ["integer", "null"], "minimum": 0},
    "etag": {"type": ["string", "null"], "pattern": TAG},
    "modified": {**TIME, "type": ["string", "null"]},
    "state": {"enum": sorted(STATES)},
    "sequence": {"type": "integer"},
    "kept_until": {**TIME, "type": ["string", "null"]},
    "expires": {**TIME, "type": ["string", "null"]},
}


def object_of(properties: Json) -> Json:
    """An object with exactly these members."""
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }


def list_of(items: Json) -> Json:
    """An array."""
    return {"type": "array", "items": items}


SCHEMAS: Json = {
    "Error": object_of({"code": {"type": "integer"}, "text": {"type": "string"}}),
    "Entry": object_of(_OF_ENTRY),
    "Described": object_of(_OF_DESCRIBED),
    "Session": object_of(
        {
            "open": {"type": "boolean"},
            "user": {"type": ["string", "null"]},
            "role": {"enum": [*Role, None]},
            "prefix": {"type": "string"},
            "links": {"type": "boolean"},
            "keep_deleted_s": {"type": "number", "minimum": 0},
            "server": {
                "type": ["object", "null"],
                "required": ["name", "version", "listen", "place"],
                "additionalProperties": {"type": "string"},
            },
        }
    ),
    "Blob": object_of(
        {
            **_OF_DESCRIBED,
            "encoding": {"type": "string"},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
            "history": list_of(
                object_of({"time": TIME, "state": {"enum": sorted(STATES)}, "message": {"type": "string"}})
            ),
        }
    ),
}

_FIELDS: Json = {
    "ETag": {"pattern": '^"'},
    "Last-Modified": {},
    "Accept-Ranges": {"const": "bytes"},
    "Repr-Digest": {"pattern": DIGEST},
    "Blob-Id": {"pattern": "^[0-9]+$"},
    "X-Content-Type-Options": {"const": "nosniff"},
    "Content-Security-Policy": {"const": STORED_CSP},
    "Content-Range": {"pattern": "^bytes "},
    "Location": {"pattern": "/store/"},
    "Allow": {},
    "Content-Disposition": {"pattern": "^attachment; "},
}
VALIDATORS = ("ETag", "Last-Modified")  # and Cache-Control, where a blob has no Expires of its own
WITH_A_BLOB = (*VALIDATORS, "Accept-Ranges", "Repr-Digest", "Blob-Id", "Content-Security-Policy")


def with_text_ids(described: Any) -> Any:
    """A description, or a part of it, for the engine objects."""
    if described in (ID, AFTER_ID):
        return _TEXT_ID
    if described == NEXT_ID:
        return {"type": ["string", "null"]}
    if isinstance(described, dict):
        return {name: with_text_ids(part) for name, part in described.items()}
    return [*map(with_text_ids, described)] if isinstance(described, list) else described


def answer(text: str, fields: tuple[str, ...] = (), content: Json | None = None) -> Json:
    """A response: what it means, the header fields that it always has, its content by media type."""
    made: Json = {"description": text}
    if fields:
        made["headers"] = {
            name: {"required": True, "schema": {"type": "string", **_FIELDS[name]}} for name in fields
        }
    if content:
        made["content"] = {media_type: {"schema": schema} for media_type, schema in content.items()}
    return made


def error(text: str, fields: tuple[str, ...] = ()) -> Json:
    """A response that is an error of ours."""
    return answer(text, fields, {"application/json": ERROR})


def parameter(place: str, name: str, schema: Json, text: str = "") -> Json:
    """A parameter in "path", "query" or "header"."""
    made = {"name": name, "in": place, "required": place == "path", "schema": schema}
    return made | ({"description": text} if text else {})


def header(name: str, pattern: str | None = None) -> Json:
    """A request header field."""
    return parameter("header", name, {"type": "string"} | ({"pattern": pattern} if pattern else {}))


def _limit(most: int, default: int) -> Json:
    return parameter("query", "limit", {"type": "integer", "minimum": 1, "maximum": most, "default": default})


LIMIT = _limit(MAX_LIMIT, DEFAULT_LIMIT)
ID_LIMIT = _limit(MAX_ID_LIMIT, DEFAULT_ID_LIMIT)


def operation(summary: str, responses: Json, parameters: list[Json], **more: Any) -> Json:
    """What a method does: its own answers, and those that any request may get."""
    anywhere = {status: error(text) for status, text in ANYWHERE.items()}
    everything = dict(sorted((anywhere | responses).items()))
    return {"summary": summary, "parameters": parameters, "responses": everything, **more}


def readable(summary: str, responses: Json, parameters: list[Json]) -> Json:
    """GET, HEAD and OPTIONS of a resource. A HEAD is answered as a GET, without bodies."""
    get = operation(summary, responses, parameters)
    bodiless = {
        status: {name: value for name, value in one.items() if name != "content"}
        for status, one in get["responses"].items()
    }
    head = {"summary": f"{summary}: the head alone", "parameters": parameters, "responses": bodiless}
    known = {"204": answer("See Allow.", ("Allow",))}
    known |= {status: one for status, one in responses.items() if status == "404"}
    options = operation("What the resource knows", known, [])
    return {"get": get, "head": head, "options": options}
