"""Every error that Blobkeep raises on purpose: one hierarchy, one sentence each that says what to do.

The text of an error is for the user: no path of the store, no traceback. The cause is chained with
`raise ... from err` and logged once, where the error is handled. Which HTTP status a class becomes is
decided in one place, `services/frontends/statuses.py`.
"""

from __future__ import annotations

import errno

# A disk, a quota or the inode table is full.
NO_SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
# Errors of the kernel, or of `common.ours`, for something foreign in the place of our file: a symlink, a
# device, a folder, a file that is longer than any of ours.
FOREIGN_ERRNOS = frozenset({errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENOTDIR, errno.ESPIPE, errno.EFBIG})
# The disk gave an error. The bytes may still be right, and readable later.
DISK_ERRNOS = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG})
DAMAGE_ERRNOS = FOREIGN_ERRNOS | DISK_ERRNOS
# The process or the machine is short of something, which says nothing about any file.
SHORTAGE_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class BlobkeepError(Exception):
    """Base of all. `str(error)` is one sentence, fit to be sent to a client."""


class ConfigError(BlobkeepError):
    """An option is unknown, ill-typed or impossible on this directory; named in the text."""


class LockHeld(BlobkeepError):
    """Another process holds the lock of this directory; its pid is in the text."""


class BadRequest(BlobkeepError):
    """The request itself is wrong; repeating it as it is cannot succeed."""


class Unauthorized(BlobkeepError):
    """The request names no client, or its secret is unknown. The text does not say which part is wrong."""


class Forbidden(BlobkeepError):
    """The client is known, and may not do this."""


class Misdirected(BlobkeepError):
    """The request came under a host name that the server does not answer to."""


class BadLocation(BadRequest):
    """The location is empty, too long, not UTF-8, or has a segment or character that is refused."""


class RangeNotSatisfiable(BlobkeepError):
    """No byte of the asked ranges is inside the blob, which has `size` bytes."""

    def __init__(self, text: str, size: int) -> None:
        super().__init__(text)
        self.size = size


class PreconditionFailed(BlobkeepError):
    """If-Match, If-None-Match or If-Unmodified-Since did not hold. Nothing was changed."""


class NotFound(BlobkeepError):
    """There is no such blob."""


class UnknownUpload(NotFound):
    """There is no upload in parts with this id: never begun, complete, aborted or expired."""


class PartsChanged(BlobkeepError):
    """A part that was to be joined was sent again meanwhile, or is not there. Nothing was changed."""


class AlreadyExists(BlobkeepError):
    """A create met a blob that is there. Nothing was changed."""


class TooLarge(BlobkeepError):
    """The body is larger than the configuration allows. Nothing was stored."""


class Busy(BlobkeepError):
    """Too much at once, or stopping: the same request will succeed a little later."""


# The text of Busy if a server that stops has aborted an upload that goes on.
GIVEN_UP = "The upload was given up, and nothing was stored: send it again."


class NoSpace(BlobkeepError):
    """The disk or quota is full (ENOSPC, EDQUOT). Nothing was acknowledged, the old value stands."""


class NoIdLeft(NoSpace):
    """Every id has a folder. `reclaiming` says that the gc is about to free some."""

    def __init__(self, text: str, *, reclaiming: bool = False) -> None:
        super().__init__(text)
        self.reclaiming = reclaiming


class Unavailable(BlobkeepError):
    """The engine cannot be reached. Whether a write took effect is not known, unless the text says so."""


class Unreadable(Unavailable):
    """The disk gave an error. It may work later; nothing was changed."""


class Damaged(BlobkeepError):
    """What is on disk is not what was written. It is never sent as good."""


class CorruptRecord(BlobkeepError):
    """A state file does not parse, or fails its checksum."""


class StorageFailed(BlobkeepError):
    """The disk refused an operation for a reason other than room. Nothing was acknowledged."""


class SyncFailed(StorageFailed):
    """A sync failed: what is on disk is unknown, so the server answers 5xx and stops (design rule 5)."""


class Unfinished(SyncFailed):
    """A change is durable in the journal, but not in its folders. The restart finishes it."""


def from_os_error(err: OSError, doing: str) -> BlobkeepError:
    """The error to raise in place of `err`, by its errno; `doing` completes "could not ..."."""
    if err.errno in NO_SPACE_ERRNOS:
        return NoSpace("The disk is full, or out of inodes: delete blobs or add space, then try again.")
    if err.errno in (errno.EMFILE, errno.ENFILE):
        return Busy("The server is out of file descriptors: try again in a moment.")
    name = errno.errorcode.get(err.errno or 0, "unknown error")
    return StorageFailed(f"The disk answered {name} and the server could not {doing}: see its log.")
