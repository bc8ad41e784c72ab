"""How a change of a location takes effect: one conditional write of its pointer, and what goes before it.

The steps of every write and delete. They run on any Bucket, so the model test explores this code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from common.checksum import Bytes
from common.errors import BlobkeepError, Unavailable
from services.engines.objects import entry, keys, pointer
from services.engines.objects.bucket import ABSENT, Bucket, Clock, Refused, Unclear
from services.engines.objects.decide import Outcome, outcome
from services.engines.objects.entry import Entry
from services.engines.objects.pointer import Facts, Known, Pointer
from services.engines.objects.pointers import Pointers

# A swap that is refused though the pointer is unchanged is tried again so often, each after a longer pause.
MAX_TRIES = 6
FIRST_PAUSE_S = 0.05

TAKEN_FOR_DEAD = "This upload gave no sign of life for too long: send it again."

Judge = Callable[[Known], None]
"""Raises what is to be answered where a write must not replace what is known."""


class Tools(NamedTuple):
    """What every step needs: the bucket, what is known of its pointers, the time."""

    bucket: Bucket
    pointers: Pointers
    clock: Clock


class Claimed(BlobkeepError):
    """The gc took this write for dead, so the write must begin again. Never shown to a client."""


class StateObject:
    """The state object of one write, for the write: made before it is needed, swapped, given up."""

    def __init__(self, tools: Tools, first: Entry) -> None:
        self._bucket = tools.bucket
        self._clock = tools.clock
        self._etag: str | None = None  # None: not made yet
        self._entry = first

    @property
    def entry(self) -> Entry:
        return self._entry

    @property
    def is_made(self) -> bool:
        return self._etag is not None

    async def cover(self, known: Known) -> None:
        """Make it name what the write is going to replace. The write must wait for that.

        Raises Claimed if the gc has claimed it; Unavailable.
        """
        replaced = known.pointer
        old = _data_of(replaced)
        facts = replaced.facts if replaced is not None and old else None
        wanted = msgspec.structs.replace(
            self._entry,
            base=known.generation,
            old=old,
            old_parts=facts.parts if facts is not None else 0,
            old_sums=facts is not None and facts.sums_crc is not None,
        )
        if not self.is_made or wanted != self._entry:
            await self._write(wanted)

    async def beat(self) -> None:
        """Give a sign of life, so that the gc does not take a long upload for dead. Raises as `cover`."""
        await self._write(msgspec.structs.replace(self._entry, beats=self._entry.beats + 1))

    async def give_up(self, reason: str) -> None:
        """Leave the data of the write to the gc. Raises Unavailable: the gc then finds it by its age."""
        if not self.is_made:
            return
        try:
            await self._write(entry.failed(self._entry, reason, self._clock.now_ns()))
        except Claimed:
            return  # the gc was faster

    async def _write(self, wanted: Entry) -> None:
        key, data = keys.gc_key(wanted.txn), entry.encode(wanted)
        for attempt in range(MAX_TRIES):
            try:
                self._etag = await self._bucket.put(
                    key, data, self._etag if self._etag is not None else ABSENT
                )
                self._entry = wanted
                return
            except (Refused, Unclear):
                got = await self._bucket.get(key)
            if got is None and self._etag is not None:
                raise Claimed("The gc has removed the state object of this write.")
            if got is not None and got.data == data:
                self._etag, self._entry = got.etag, wanted
                return
            if got is not None and entry.is_failure(got.data):
                raise Claimed("The gc has taken this write for dead.")
            if got is not None:
                self._etag = got.etag  # ours, of a request that was given up
            await self._clock.sleep(FIRST_PAUSE_S * 2**attempt)
        raise Unavailable("The object store does not take the state of this write: try again.")


def _data_of(replaced: Pointer | None) -> str:
    """The txn of the data that is garbage once `replaced` is no longer the state; empty if there is none."""
    return replaced.data_txn if replaced is not None and replaced.state == pointer.OK else ""


class Change:
    """One change of one location: a write of new facts, or with `facts` None a delete."""

    def __init__(
        self, tools: Tools, location: str, judge: Judge, *, brings: bool = False, write: str = ""
    ) -> None:
        """`write`: its txn; empty for a new one."""
        self._bucket, self._pointers, self._clock = tools
        self._location = location
        self._judge = judge
        self._write = write or self._clock.new_txn()
        self._is_settled = False  # whether it is known that no swap of ours is on its way, or can succeed
        self._tools = tools
        self._brings = brings
        self._state_object: StateObject | None = None

    @property
    def txn(self) -> str:
        """The txn of this write."""
        return self._write

    @property
    def state_object(self) -> StateObject:
        """Begun when it is first needed: most writes neither bring nor replace data."""
        if self._state_object is None:
            first = Entry(self._write, self._location, 0, self._clock.now_ns(), brings=self._brings)
            self._state_object = StateObject(self._tools, first)
        return self._state_object

    @property
    def _is_mortal(self) -> bool:
        """Whether the gc may take this write for dead: it has made its state object."""
        return self._state_object is not None and self._state_object.is_made

    async def first_look(self) -> Known:
        """The state to replace, after the condition was judged on it. Reads the pointer only if it must.

        A location of which nothing is remembered is taken for absent if the condition allows a create: the
        conditional write finds out. Raises what the condition raises for the real state; Unavailable.
        """
        guess = self._pointers.recent(self._location) or pointer.ABSENT
        try:
            self._judge(guess)
            return guess
        except BlobkeepError:
            return await self.look()

    async def second_look(self, known: Known) -> Known:
        """The state to replace, after the condition was judged again. `known` was read before the body came.

        `known` itself is not used, since it may be old: if the swap were refused, too much could have
        happened since to tell what became of it. Raises what the condition raises; Claimed; Unavailable.
        """
        recent = self._pointers.recent(self._location)
        if recent is not None:
            try:
                self._must_live(known, recent)
                self._judge(recent)
                return recent
            except BlobkeepError:
                pass  # it may be old, too
        now = await self._pointers.read(self._location)
        self._must_live(known, now)
        self._judge(now)
        return now

    def _must_live(self, known: Known, now: Known) -> None:
        """Raise if the gc killed this write since `known`, or may have: a swap of `now` would not notice."""
        match outcome(self._write, known.generation, now, mortal=self._is_mortal):
            case Outcome.KILLED:
                raise Claimed("The gc has taken this write for dead.")
            case Outcome.UNKNOWN:
                raise Unavailable("Too much has happened to this blob meanwhile: try again.")

    async def take_effect(self, known: Known, facts: Facts | None, *body: Bytes) -> tuple[Known, Known]:
        """Swap the pointer. Returns (what was replaced, what is there now) when that is durable.

        The condition was judged on `known`. Raises what it raises for a state that took its place meanwhile;
        Claimed; Unavailable if nothing was done, or the outcome could not be found out.
        """
        try:
            return await self._swap(known, facts, body)
        except BaseException:
            if not self._is_settled:
                self._pointers.forget(self._location)  # a request may still be under way
            raise

    async def _swap(self, known: Known, facts: Facts | None, body: Sequence[Bytes]) -> tuple[Known, Known]:
        key = keys.pointer_key(self._location)
        state = pointer.OK if facts is not None else pointer.DELETED
        while True:
            if known.pointer is None and known.etag is not None:
                await self._keep_unreadable(known)
            if self._brings or self._state_object is not None or _data_of(known.pointer):
                await self.state_object.cover(known)
            after = pointer.next_state(
                known,
                location=self._location,
                state=state,
                write=self._write,
                now_ns=self._clock.now_ns(),
                facts=facts,
            )
            data = pointer.encode(after, *body)
            for attempt in range(MAX_TRIES):
                try:
                    etag = await self._bucket.put(key, data, known.etag if known.etag is not None else ABSENT)
                    made = Known(etag, after, len(data) - sum(map(len, body)))
                    self._pointers.note(self._location, made)
                    return known, made
                except (Refused, Unclear):
                    now = await self._pointers.read(self._location)
                match outcome(self._write, known.generation, now, mortal=self._is_mortal):
                    case Outcome.APPLIED:
                        return known, Known("", after)
                    case Outcome.KILLED:
                        raise Claimed("The gc has taken this write for dead.")
                    case Outcome.UNKNOWN:
                        raise Unavailable(
                            "Whether this write took effect is not known: read, then try again."
                        )
                    case Outcome.LOST:
                        break
                    case Outcome.OPEN:
                        await self._clock.sleep(FIRST_PAUSE_S * 2**attempt)
            else:
                raise Unavailable("The object store does not take this write: try again.")
            self._is_settled = True
            self._judge(now)
            self._is_settled = False
            known = now

    async def _keep_unreadable(self, known: Known) -> None:
        """A pointer that cannot be read is kept when it is replaced: it may hold a blob's bytes."""
        got = await self._bucket.get(keys.pointer_key(self._location))
        if got is not None and got.etag == known.etag:
            await self._bucket.put(keys.damaged_key(self._write), got.data, None)

    async def look(self) -> Known:
        """What is there now, judged. Raises what the judge raises; Unavailable."""
        known = await self._pointers.read(self._location)
        self._judge(known)
        return known


async def change_at_once(
    tools: Tools,
    location: str,
    judge: Judge,
    facts: Facts | None,
    *body: Bytes,
    write: str = "",
) -> tuple[Known, Known]:
    """Write a blob that is stored in its pointer, or delete if `facts` is None. Returns (before, after).

    `body`: its bytes, in pieces. `write`: the txn; empty for a new one.

    Raises what the judge raises, Unavailable.
    """
    for _ in range(1 if write else MAX_TRIES):
        change = Change(tools, location, judge, write=write)
        try:
            return await change.take_effect(await change.first_look(), facts, *body)
        except Claimed:
            continue
    raise Unavailable("The gc took this write for dead again and again: try again.")


class StagedWrite:
    """A write whose bytes are in objects of their own: begun, sent part by part, then made to take effect."""

    def __init__(self, tools: Tools, location: str, judge: Judge, write: str = "") -> None:
        self.location = location
        self._bucket = tools.bucket
        self._change = Change(tools, location, judge, brings=True, write=write)

    @property
    def entry(self) -> Entry:
        """Its state object, as it was last written."""
        return self._change.state_object.entry

    async def begin(self, known: Known) -> None:
        """Make the state object. It must come before any data, which a sweep would else take for garbage."""
        self._known = known
        try:
            await self._change.state_object.cover(known)
        except Claimed as err:
            raise Unavailable(TAKEN_FOR_DEAD) from err

    async def bring(self, part: int, data: Bytes) -> None:
        """Put one part of the data into the store. Raises Unavailable."""
        await self._bucket.put(keys.part_key(self.location, self._change.txn, part), data, None)

    async def bring_sums(self, data: bytes) -> None:
        """Put the checksums of the chunks into the store, where they are too many for the pointer."""
        await self._bucket.put(keys.sums_key(self.location, self._change.txn), data, None)

    async def beat(self) -> None:
        """Give a sign of life. Raises Claimed, Unavailable."""
        await self._change.state_object.beat()

    async def take_effect(self, facts: Facts) -> tuple[Known, Known]:
        """What was there, and what is there now. Raises what the judge raises, Unavailable."""
        try:
            self._known = await self._change.second_look(self._known)
            return await self._change.take_effect(self._known, facts)
        except Claimed as err:
            raise Unavailable(TAKEN_FOR_DEAD) from err

    async def give_up(self, reason: str) -> None:
        """Leave what was stored to the gc."""
        await self._change.state_object.give_up(reason)
