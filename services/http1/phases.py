"""The phases of a connection, and the one table of the steps between them.

`Connection.step` takes no other one. docs/connection.md shows the table as a diagram, made by `diagram`.
"""

from __future__ import annotations

import enum
import sys


class Phase(enum.IntEnum):
    """What a connection is doing. IntEnum, as its hash is that of an int: a step costs 0.1 us, not 0.3."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    ANSWER = 3
    DISCARD = 4
    LINGER = 5
    CLOSING = 6
    CLOSED = 7
    DETACHED = 8


# Names for the hot path: a member of an enum costs 90 ns in Python 3.11, a name of a module 9.
IDLE, HEAD, BODY, ANSWER, DISCARD = tuple(Phase)[:5]

MEANING = {
    Phase.IDLE: "nothing of the next request has come",
    Phase.HEAD: "something of a head has come, or whole requests wait for their turn",
    Phase.BODY: "the application knows the head; the body is being read and given to it",
    Phase.ANSWER: "the request is whole, and the application is answering it",
    Phase.DISCARD: "the answer is written; the short rest of the body is read and dropped",
    Phase.LINGER: "the last answer is given; what still comes is dropped, so that the answer arrives",
    Phase.CLOSING: "the transport closes, after it has sent what is unsent, or at once where it was cut",
    Phase.CLOSED: "the transport is gone",
    Phase.DETACHED: "the connection has left HTTP, and belongs to who detached it",
}

# A body is being taken off the wire.
READING_BODY = (Phase.BODY, Phase.DISCARD)
# All is said: nothing more is answered.
ENDED = (Phase.LINGER, Phase.CLOSING, Phase.CLOSED, Phase.DETACHED)
# The transport is not ours any more, or closes.
OVER = (Phase.CLOSING, Phase.CLOSED, Phase.DETACHED)

_CUT = "cut off, or the client sends no more"
_GONE = "the client is gone"

WHY: dict[tuple[Phase, Phase], str] = {
    (Phase.IDLE, Phase.HEAD): "the first bytes of a request",
    (
        Phase.IDLE,
        Phase.LINGER,
    ): "503: one too many, no request came; 400: no TLS; drained, answer not taken",
    (Phase.IDLE, Phase.CLOSING): "idle too long, drained, or the client sends no more",
    (Phase.IDLE, Phase.CLOSED): _GONE,
    (Phase.HEAD, Phase.IDLE): "answered without an exchange, or only empty lines",
    (Phase.HEAD, Phase.BODY): "a head with a body",
    (Phase.HEAD, Phase.ANSWER): "a head without a body",
    (Phase.HEAD, Phase.LINGER): "refused: malformed, too large, too late",
    (Phase.HEAD, Phase.CLOSING): _CUT,
    (Phase.HEAD, Phase.CLOSED): _GONE,
    (Phase.BODY, Phase.ANSWER): "the body is whole",
    (Phase.BODY, Phase.DISCARD): "answered early, and the rest is short",
    (Phase.BODY, Phase.LINGER): "refused, or answered early and the rest is long",
    (Phase.BODY, Phase.CLOSING): _CUT,
    (Phase.BODY, Phase.CLOSED): _GONE,
    (Phase.BODY, Phase.DETACHED): "detached",
    (Phase.ANSWER, Phase.IDLE): "answered",
    (Phase.ANSWER, Phase.HEAD): "answered, and the next request is here",
    (Phase.ANSWER, Phase.LINGER): "answered for the last time, though the client would go on",
    (Phase.ANSWER, Phase.CLOSING): "answered for the last time, or cut off",
    (Phase.ANSWER, Phase.CLOSED): _GONE,
    (Phase.ANSWER, Phase.DETACHED): "detached",
    (Phase.DISCARD, Phase.IDLE): "the rest is read",
    (Phase.DISCARD, Phase.HEAD): "the rest is read, and the next request is here",
    (Phase.DISCARD, Phase.LINGER): "the rest comes too slowly",
    (Phase.DISCARD, Phase.CLOSING): _CUT,
    (Phase.DISCARD, Phase.CLOSED): _GONE,
    (Phase.LINGER, Phase.CLOSING): "the client sends no more, or sends for too long",
    (Phase.LINGER, Phase.CLOSED): _GONE,
    (Phase.CLOSING, Phase.CLOSED): "closed",
}
"""Every legal step, from and to, and when it is taken."""

STEPS = {phase: frozenset(to for (come_from, to) in WHY if come_from is phase) for phase in Phase}
"""The phases that may follow each phase: what `Connection.step` asks."""


class IllegalStep(RuntimeError):
    """A step that is not in the table: a bug. The connection is cut; others go on."""


def diagram() -> str:
    """The phases and all their steps, for docs/connection.md: a table, and a mermaid state diagram."""
    lines = ["| phase | what it means |", "|---|---|"]
    lines += [f"| {phase.name} | {meaning} |" for phase, meaning in MEANING.items()]
    lines += ["", "```mermaid", "stateDiagram-v2", "    [*] --> IDLE"]
    lines += [f"    {come_from.name} --> {to.name}: {why}" for (come_from, to), why in WHY.items()]
    lines += [f"    {phase.name} --> [*]" for phase in Phase if not STEPS[phase]]
    return "\n".join([*lines, "```"])


if __name__ == "__main__":
    sys.stdout.write(f"{diagram()}\n")
