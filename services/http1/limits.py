"""The limits of one HTTP/1.1 server on its clients: sizes, times, counts. Units are in the names."""

from __future__ import annotations

import dataclasses

KIB = 1024
MIB = 1024 * KIB


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a server and of each of its connections. All may be small in tests; times are in seconds."""

    # Sizes of what a client sends.
    target_bytes: int = 8 * KIB  # request-target; more: 414
    head_bytes: int = 64 * KIB  # request line and fields together; more: 431
    head_fields: int = 256  # field lines of a head; more: 431. 64 KiB of `a:` lines take 13 ms to parse
    body_bytes: int = 100 * MIB  # more: 413; an application sets its own with `set_max_body_size`
    unneeded_body_bytes: int = 64 * KIB  # of GET, HEAD, DELETE, OPTIONS and TRACE; more: 413
    chunk_line_bytes: int = 4 * KIB  # one chunk-size line with its extensions; more: 400
    chunk_extra_bytes: int = 64 * KIB  # extensions of one body together, and its trailers; more: 400

    # Memory of one connection.
    piece_bytes: int = 256 * KIB  # largest piece of a body given to `data_received` at once
    pipeline_bytes: int = 64 * KIB  # read ahead while a request is being answered, then reading pauses
    write_buffer_bytes: int = 256 * KIB  # unsent data above this makes the futures of writes wait

    # The work of one connection in one turn of the event loop, before the others have their turn.
    # uvloop reads 256,000 bytes at once, and reads on in the same turn if so many were there: only then
    # must it be stopped.
    turn_bytes: int = 256_000  # of a body, taken off the wire
    turn_lines: int = 64  # chunk sizes and trailers of a body: 4 us each

    # Time.
    header_timeout_s: float = 20.0  # from the first byte of a head to its last; else 408
    idle_timeout_s: float = 75.0  # between requests, and before the first; then closed without a word
    body_idle_timeout_s: float = 30.0  # without a byte of a body that is being waited for; else 408
    body_timeout_s: float | None = None  # for a whole body; an application may set its own per request
    upload_grace_s: float = 30.0  # before the minimum rate is asked for
    min_upload_bytes_per_s: float = 1024.0  # average of a body so far, waiting for us not counted; else 408
    write_idle_timeout_s: float = 60.0  # without a byte of an answer being taken; then cut off
    refused_head_timeout_s: float = 2.0  # for the head of one connection too many, before it is told 503
    half_closed_timeout_s: float = 30.0  # for an answer after the client has closed its sending side

    # Closing so that the last answer arrives (RFC 9112 section 9.6).
    linger_timeout_s: float = 10.0  # reading and dropping what still comes, for at most this long
    linger_bytes: int = 64 * MIB  # and at most this much
    drain_linger_s: float = 1.0  # while the server drains, whose end waits for it
    discard_bytes: int = 64 * KIB  # so much unread body is dropped to keep the connection, more closes it

    # Counts.
    max_connections: int = 10_000  # more: 503 with Retry-After
    many_bodies: int = 256  # coming in at once; one more: the slowest below the minimum rate gives way
    give_way_grace_s: float = 1.0  # in which none is taken for slow
    max_refusing: int = 256  # beyond these, being told 503 at once; one more: the oldest is closed
    retry_after_s: int = 1
    accept_pause_s: float = 0.5  # without accepting after descriptors ran out

    def tick_s(self) -> float:
        """How often time is checked: a quarter of the shortest bound, between 10 ms and 1 s."""
        times = [
            self.header_timeout_s,
            self.idle_timeout_s,
            self.body_idle_timeout_s,
            self.upload_grace_s,
            self.write_idle_timeout_s,
            self.half_closed_timeout_s,
            self.refused_head_timeout_s,
            self.linger_timeout_s,
            *([] if self.body_timeout_s is None else [self.body_timeout_s]),
        ]
        return min(1.0, max(0.01, min(times) / 4))
