"""Answers of the connection itself, without the application: small JSON, after which it closes."""

from __future__ import annotations

import http
import time

from tornado.httputil import HTTPInputError

from services.rules.answers import common_fields, error_body, error_fields


class Refusal(HTTPInputError):
    """A message is refused. `code` is the status to answer, `text` one sentence on what to do."""

    def __init__(self, code: int, text: str, log_text: str | None = None) -> None:
        super().__init__(log_text or text)
        self.code = code
        self.text = text


def refusal_bytes(code: int, text: str, *, with_body: bool = True, retry_after_s: int | None = None) -> bytes:
    """A whole answer, `{"code": N, "text": "..."}`, with `Connection: close` (RFC 9112 section 9.6)."""
    body = error_body(code, text)
    fields = [*common_fields(int(time.time())), *error_fields(retry_after_s)]
    fields += [("Content-Length", str(len(body))), ("Connection", "close")]
    head = f"HTTP/1.1 {code} {http.HTTPStatus(code).phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    return head.encode("latin1") + (body if with_body else b"")
