"""The life of a blob as one table. Pure: imports nothing of ours, so anyone may import it.

On disk there are three states, OK, Pending and Failure (their codes are the original server's). OK is
written twice in a blob's life, so the code knows four: a blob that was only CREATED is never served.

    CREATED -> PENDING -> COMPLETE -> FAILURE
       \\__________\\______________________^
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """Where a blob is in its life. The value is the word on disk and on the wire."""

    CREATED = "Created"
    PENDING = "Pending"
    COMPLETE = "OK"
    FAILURE = "Failure"


NEXT: dict[State | None, frozenset[State]] = {
    None: frozenset({State.CREATED}),
    State.CREATED: frozenset({State.PENDING, State.FAILURE}),
    State.PENDING: frozenset({State.COMPLETE, State.FAILURE}),
    State.COMPLETE: frozenset({State.FAILURE}),
    State.FAILURE: frozenset(),  # design rule 2: Failure is final
}

# The codes in the JSON of the state file.
CODE = {State.CREATED: 0, State.PENDING: -2, State.COMPLETE: 0, State.FAILURE: -1}


class _Words(dict[int, str]):
    def __missing__(self, code: int) -> str:
        return "Unknown"  # in the older entries of a record that rotted: nothing depends on them


# The words in the history lines.
WORD_OF_CODE = _Words({0: "OK", -1: "Failure", -2: "Pending"})

CODE_OF_WORD = {word: code for code, word in WORD_OF_CODE.items()}

# The messages of the original server, kept letter by letter: people grep for them.
MSG_CREATED = "Blob Created & Saved!"
MSG_UPDATED = "Blob Updated & Saved!"
MSG_WRITING = "Starting Data WR"
MSG_COMPLETE = "Blob Data WR Complete!"
MSG_DELETED = "Deleted!"
MSG_INTERRUPTED = "Found in Pending state during Restore - Deleting!"
# Ours, for events that the original does not have.
MSG_UNDELETED = "Blob Undeleted"  # from which id follows
MSG_EXPIRED = "Expired!"
MSG_EVICTED = "Evicted, least recently read!"
MSG_ABORTED = "Upload failed"  # the reason follows
MSG_NOT_COMMITTED = "Commit failed - Deleting!"
MSG_SUPERSEDED = "Superseded by a newer blob of this location - Deleting!"


def replaced_by(blob_id: int | str) -> str:
    """The message of a blob that an update replaced. It begins with MSG_DELETED, as the original's."""
    return f"{MSG_DELETED} Replaced by blob {blob_id}"


class IllegalTransition(Exception):
    """Someone tried to move a blob against the table: a programming error, never shown to a client."""

    def __init__(self, current: State | None, wanted: State) -> None:
        super().__init__(f"a blob cannot go from {current} to {wanted}")


def advance(current: State | None, wanted: State) -> State:
    """Return `wanted` if the table allows it from `current`, else raise IllegalTransition."""
    if wanted not in NEXT[current]:
        raise IllegalTransition(current, wanted)
    return wanted
