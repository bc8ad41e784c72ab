"""One change of one location on its way to disk: the steps that the committer runs for it, and their undo.

A change makes a new blob, retires an old one, or both. After it was submitted only the committer's thread
uses it. The committer decides the order of the steps and the syncs between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from common import checksum, durable
from common.errors import NO_SPACE_ERRNOS, BlobkeepError, SyncFailed
from common.states import (
    CODE_OF_WORD,
    MSG_CREATED,
    MSG_DELETED,
    MSG_NOT_COMMITTED,
    MSG_UPDATED,
    MSG_WRITING,
    State,
    replaced_by,
)
from services.engines.local.disk import blob_folder, quarantine, record, reserve
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import DATA_TEMP_NAME, STATE_TEMP_NAME, Layout
from services.engines.local.disk.record import BlobRecord, Transition
from services.engines.local.journal.format import JournalEntry
from services.engines.local.serving.ids import IdAllocator, Sequence
from services.engines.local.serving.old_record import from_memory, record_of
from services.store import Content

log = logging.getLogger(__name__)


class Draft:
    """The new blob of a change: whole in memory (`body`), or staged on disk with its bytes synced.

    `staged` is the Pending record; its folder is there and data.raw is complete. `is_unnamed`: there is no
    state file yet, and data.raw has its temporary name. `sha256`: of a body in memory, if it is known; of
    staged bytes always, as `size` and `crcs`. `message`: the beginning of its history, if that is
    neither created nor updated.
    """

    # Class attributes are the initial values of what is rarely set, or asked for: to read one through an
    # object costs five times what it costs to read the object's own.
    is_unnamed = False
    size = 0
    sha256 = b""
    crcs = b""
    attributes: Mapping[str, str] = record.NO_METADATA  # what is known once all bytes have come
    source: Blob | None = None  # of a move: the blob at another location that ends with the same commit
    afterwards: Callable[[], Awaitable[None]] | None = None  # before others may change the location again

    def __init__(
        self, location: str, content: Content, body: bytes | bytearray = b"", *, message: str = ""
    ) -> None:
        self.location = location
        self.content = content
        self.body = body
        self.message = message
        self.staged: BlobRecord | None = None


class Change:
    """See the module docstring. `old`: the blob to retire; `released`: a damaged one to forget.

    `leaves_nothing`: the disk is short of room, so what is no longer needed is removed at once. `keeps`: the
    old blob may be wanted again (see `keeping`). `why`: the reason of its end for the history, if nothing
    replaces it.

    `then`: for a move, the deletion of its source, whose `after` is this change. Both are in one batch and
    one record of the journal. Until they are decided neither goes on without the other; the deletion never
    does.
    """

    # As above. Folders that are held open until they are synced; -1 where there is none.
    new_folder_fd = -1
    new_parent_fd = -1
    old_folder_fd = -1
    released_folder_fd = -1
    _new_state = b""  # the content of the state files, as the journal must have them, too
    _failure_state = b""

    def __init__(
        self,
        data_dir: Layout,
        ids: IdAllocator,
        sequence: Sequence,
        draft: Draft | None = None,
        old: Blob | None = None,
        released: tuple[str, quarantine.Note] | None = None,
        leaves_nothing: bool = False,
        keeps: bool = False,
        *,
        why: str = MSG_DELETED,
        after: Change | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.ids = ids
        self.sequence = sequence
        self.draft = draft
        self.old = old
        self.released = released
        self.leaves_nothing = leaves_nothing
        self.keeps = keeps
        self.why = why
        self.after = after
        self.then: Change | None = None
        self.future: asyncio.Future[BlobRecord | None] | None = None
        self.error: BlobkeepError | None = None
        self.new: BlobRecord | None = None  # once prepared
        self.failure: BlobRecord | None = None  # the old blob's last record, once prepared
        self.stuck = False  # it was undone, but the disk did not let us: a restart may show it
        self._removed: JournalEntry | None = None  # for an old blob without a folder
        self._decided = False
        self.unsynced: list[int] = []  # descriptors of what `prepare` wrote
        self._held: list[int] = []  # of the folders above
        self._undo: list[Callable[[], object]] = []  # newest last

    @property
    def result(self) -> BlobRecord | None:
        """The result for the waiter: the new blob's record, or that of the deleted blob."""
        return self.new or self.failure

    def prepare(self) -> None:
        """Write everything into temporary files; nothing is visible. Raises OSError, NoIdLeft."""
        if self.draft is not None:
            self._prepare_new(self.draft)
        if self.old is not None:  # after the new one, whose id its history names
            self._prepare_failure(self.old)
        if self.released is not None:
            self._prepare_release(*self.released)

    def entries(self) -> list[JournalEntry]:
        """What the journal must hold of this change, once prepared."""
        entries = []
        if self.new is not None and self.draft is not None:
            body = bytes(self.draft.body) if self.draft.staged is None else None
            entries.append(JournalEntry(self.new.id, self.new.seq, True, self._new_state, body))
        if self._removed is not None:
            entries.append(self._removed)
        if self.failure is not None:
            entries.append(JournalEntry(self.failure.id, self.failure.seq, False, self._failure_state, None))
        if self.then is not None:
            entries += self.then.entries()
        return entries

    def publish(self) -> None:
        """Rename the new blob's files into place. The committer makes that durable, if it is not yet."""
        self._close_files()
        if self.new is not None and self.draft is not None:
            has_name = self.draft.staged is not None and not self.draft.is_unnamed
            blob_folder.publish(self.data_dir, self.new.id, has_data=has_name)
            if not self._decided:
                self._undo = [self._unpublish]  # the folder is a blob's now: not to be discarded any more

    def hold(self) -> None:
        """Without a journal: open the folders that are to be synced later, while all can still be undone.

        If an open failed later (no descriptors left), something would be visible and not durable. And after
        the old blob is retired, the gc may remove its folder, and another blob have its id. Raises OSError.
        """
        self._close_files()
        if self.new is not None:
            self.new_folder_fd = self._open_folder(self.data_dir.folder(self.new.id))
            self.new_parent_fd = self._open_folder(self.data_dir.parent(self.new.id))
        if self.failure is not None:
            self.old_folder_fd = self._open_folder(self.data_dir.folder(self.failure.id))

    def _open_folder(self, path: str) -> int:
        """Open a folder that is held until `close`."""
        self._held.append(durable.open_folder(path))
        return self._held[-1]

    def close(self) -> None:
        """Close what is open of it: files, and the folders that were held."""
        if self.unsynced:
            self._close_files()
        while self._held:
            os.close(self._held.pop())

    def retire(self) -> None:
        """Give the old blob's Failure state its name. Its earlier state stays under the temporary name.

        If room is short that is removed at once, so that a delete takes an inode only for a moment.
        """
        if self.failure is not None:
            state = self.data_dir.state(self.failure.id)
            durable.exchange(state + ".tmp", state)
            self.decide()
            if self.leaves_nothing:
                with contextlib.suppress(OSError):  # the gc removes it, too
                    durable.remove_file(state + ".tmp")
        if self.released is not None:
            with contextlib.suppress(FileNotFoundError):  # an operator dropped it meanwhile
                quarantine.finish_release(self.data_dir, self.released[0], self.released_folder_fd)

    @property
    def other_error(self) -> BlobkeepError | None:
        """The error of the other half of a move, if this half may not go on without it."""
        if self.after is not None:
            return self.after.error
        return None if self.then is None or self._decided else self.then.error

    def decide(self) -> None:
        """From here on nothing is undone: the old blob is, or will be, dead. To undo the new one as well
        would lose an acknowledged value. After an error the restart serves the new one.
        """
        self._decided = True
        self._undo = []

    def undo(self, error: BlobkeepError) -> None:
        """Undo it as far as a failing disk allows, so that nothing is visible; `error` goes to the waiter.

        What cannot be removed is no blob, since nothing has committed it: the next start settles it.
        """
        self.error = error
        self.close()
        for step in reversed(self._undo):
            try:
                step()
            except FileNotFoundError:  # it was not made yet
                pass
            except (OSError, BlobkeepError) as err:
                log.warning("what a failed write left stays until the next start: %s", err)
        self._undo = []

    def leave(self, error: BlobkeepError) -> None:
        """Leave it to the restart as it stands; `error` goes to the waiter."""
        self.error = error
        self.close()

    # --- steps ---

    def _prepare_failure(self, old: Blob) -> None:
        now_ns = time.time_ns()
        before = record_of(self.data_dir, old, now_ns)
        if before is None:
            self._prepare_without_folder(old, now_ns)
            return
        temp = self.data_dir.state(old.id) + ".tmp"
        self._undo.append(lambda: durable.remove_file(temp))
        if self.keeps and not self.leaves_nothing:
            # The sums that it is served by: those of the original server stand in no state of its own.
            sums = {"size": old.size, "sha256": old.sha256, "crcs": old.crcs}
            kept = blob_folder.failed(
                msgspec.structs.replace(before, **sums), self._end_of_old, now_ns, keeps=True
            )
            payload = record.dump(kept)
            try:
                self._write(temp, payload)
            except OSError as err:
                if err.errno not in NO_SPACE_ERRNOS:
                    raise
            else:
                self.failure, self._failure_state = kept, payload
                return
        self.failure = blob_folder.failed(before, self._end_of_old, now_ns)
        payload = self._failure_state = record.dump(self.failure)
        self._finding_room(lambda: self._write(temp, payload))

    @property
    def _end_of_old(self) -> str:
        """What its history says of the end of the old blob."""
        return self.why if self.new is None else replaced_by(self.new.id)

    def _prepare_release(self, name: str, note: quarantine.Note) -> None:
        self._undo.append(lambda: quarantine.forget_release(self.data_dir, name))
        try:
            self.released_folder_fd = self._open_folder(quarantine.folder(self.data_dir, name))
            self._finding_room(lambda: quarantine.prepare_release(self.data_dir, name, note))
        except FileNotFoundError:
            self.released = None  # an operator dropped it meanwhile

    def _finding_room(self, write: Callable[[], None]) -> None:
        """A delete may use the reserve on a full disk; an update may not, since deletes will need it."""
        if self.draft is None:
            reserve.finding_room(self.data_dir, write)
        else:
            write()

    def _prepare_without_folder(self, old: Blob, now_ns: int) -> None:
        """Somebody removed the folder by hand: neither the journal nor a power cut may bring it back."""
        durable.sync_folder(self.data_dir.parent(old.id))
        failure = blob_folder.failed(from_memory(old, now_ns), self._end_of_old, now_ns)
        self._removed = JournalEntry(failure.id, failure.seq, False, record.dump(failure), None)

    def _prepare_new(self, draft: Draft) -> None:
        now_ns = time.time_ns()
        pending = draft.staged
        if pending is None:
            self.new = self._prepare_whole(draft, now_ns)
        else:
            # Its number is that of its place in the order of commits, not of when its upload began.
            pending = msgspec.structs.replace(pending, seq=self.sequence.next())
            sums = (draft.size, draft.sha256, draft.crcs)
            self.new = pending.completed(*sums, now_ns, draft.attributes)
        if draft.content.origin is not None:
            self.new = self.new.moved(
                draft.content.origin.modified_ns,
                [Transition(CODE_OF_WORD[e.state], e.message, e.time) for e in draft.content.origin.history],
            )
        self._new_state = record.dump(self.new)
        folder = self.data_dir.folder(self.new.id)
        self._write(f"{folder}/{STATE_TEMP_NAME}", self._new_state)

    def _prepare_whole(self, draft: Draft, now_ns: int) -> BlobRecord:
        blob_id = self.ids.take()
        self._undo.append(lambda: blob_folder.discard(self.data_dir, blob_id))
        body, said = draft.body, draft.content
        self._write(f"{self.data_dir.folder(blob_id)}/{DATA_TEMP_NAME}", body)
        sha256, crcs = checksum.sums_of(body, draft.sha256)
        return record.whole(
            blob_id,
            draft.location,
            self.sequence.next(),
            _first_message(self.old is not None),
            now_ns,
            said.type,
            said.encoding,
            len(body),
            sha256,
            crcs,
            {**said.metadata, **draft.attributes},
        )

    def _write(self, path: str, payload: bytes | bytearray) -> None:
        fd = durable.rewrite_file(path)
        self.unsynced.append(fd)
        durable.write_all(fd, payload)

    def _unpublish(self) -> None:
        """A step after `publish` failed: no restart may find the new blob complete (rule 5)."""
        if self.new is None:
            return
        self.stuck = True  # until it is done
        if isinstance(self.error, SyncFailed):  # never sync again: this lasts unless the power fails, too
            failure = blob_folder.failed(self.new, MSG_NOT_COMMITTED, time.time_ns())
            reserve.finding_room(
                self.data_dir, lambda: blob_folder.write_failure(self.data_dir, failure, synced=False)
            )
        else:
            blob_folder.fail(self.data_dir, self.new, MSG_NOT_COMMITTED, time.time_ns())
        self.stuck = False

    def _close_files(self) -> None:
        while self.unsynced:
            os.close(self.unsynced.pop())


def first_records(draft: Draft, blob_id: int, seq: int, now_ns: int, is_update: bool) -> BlobRecord:
    """The record of a new blob while its bytes are being written: created, then Pending."""
    message = draft.message or _first_message(is_update)
    said = draft.content
    first = record.created(
        *(blob_id, draft.location, seq, message, now_ns),
        *(said.type, said.encoding, said.metadata),
    )
    return first.advanced(State.PENDING, MSG_WRITING, now_ns)


def _first_message(is_update: bool) -> str:
    return MSG_UPDATED if is_update else MSG_CREATED
