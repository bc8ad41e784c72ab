"""What the connection answers by itself, without the application: small JSON, and then it closes."""

from __future__ import annotations

import http
import json
import time

from tornado.httputil import HTTPInputError, format_timestamp


class Refusal(HTTPInputError):
    """A message that is not accepted. `code` is the status to answer, `text` one sentence on what to do."""

    def __init__(self, code: int, text: str, log_text: str | None = None) -> None:
        super().__init__(log_text or text)
        self.code = code
        self.text = text


def refusal_bytes(code: int, text: str, *, with_body: bool = True, retry_after_s: int | None = None) -> bytes:
    """A whole answer, `{"code": N, "text": "..."}`, that says `Connection: close` (RFC 9112 section 9.6)."""
    body = json.dumps({"code": code, "text": text}).encode() + b"\n"
    retry = "" if retry_after_s is None else f"Retry-After: {retry_after_s}\r\n"
    head = (
        f"HTTP/1.1 {code} {http.HTTPStatus(code).phrase}\r\n"
        f"Date: {format_timestamp(time.time())}\r\n"
        "Content-Type: application/json\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"{retry}"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin1") + (body if with_body else b"")
