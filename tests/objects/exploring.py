"""Explores every interleaving of coroutines over a bucket with conditional writes, up to a bound.

The protocol's own code runs here, not a copy of it: each request to the bucket is one step, and between any
two steps every other process may run. In addition, within a budget:

- a request is applied, and its answer lost;
- a conditional write is answered with 412, though it was applied (the store tried twice);
- a request is not applied now: the caller gets an error, and it arrives at any later time;
- a request is applied and answered, and arrives once more at any later time.

Coroutines cannot be copied, so a state is reached by running from the beginning. Two schedules that lead to
the same bucket, the same answers for each process and the same facts for the watcher lead to the same
futures, so the second is not followed. Nothing else is left out.

A process may die at any step. A dead one is one that is slow for ever, so at every state the watcher also
judges what would be left if nobody took another step.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, NamedTuple

from common.errors import BlobkeepError
from services.engines.objects.bucket import (
    UNCHANGED,
    Absent,
    Got,
    Listed,
    ListPage,
    Refused,
    Unchanged,
    Unclear,
    When,
)


class Request(NamedTuple):
    """One request, for which a process waits."""

    kind: str
    key: str
    data: bytes = b""
    when: When = None
    first: int = 0
    limit: int | None = None
    keys: tuple[str, ...] = ()

    def __await__(self) -> Generator[Request, Any, Any]:
        return (yield self)


class World:
    """The content of the bucket, and requests that are still on their way."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.late: list[Request] = []
        self.wrote: Callable[[str, bytes | None], None] = lambda key, data: None

    def apply(self, request: Request) -> Any:
        """Do what a store does. Gives the answer; an exception is returned, not raised."""
        objects = self.objects
        match request.kind:
            case "get":
                data = objects.get(request.key)
                if data is None:
                    return None
                end = None if request.limit is None else request.first + request.limit
                return Got(data[request.first : end], etag_of(data), len(data))
            case "put":
                there = objects.get(request.key)
                if isinstance(request.when, Absent) and there is not None:
                    return Refused()
                if isinstance(request.when, str) and (there is None or etag_of(there) != request.when):
                    return Refused()
                objects[request.key] = request.data
                self.wrote(request.key, request.data)
                return etag_of(request.data)
            case "delete":
                for key in request.keys:
                    if objects.pop(key, None) is not None:
                        self.wrote(key, None)
                return None
            case "list":
                found = sorted(k for k in objects if k.startswith(request.key) and k > request.data.decode())
                return [Listed(k, len(objects[k]), etag_of(objects[k]), 0) for k in found]
        raise ValueError(request.kind)

    def facts(self) -> tuple[object, object]:
        """Equal for worlds with equal futures: the content, and the requests on their way."""
        return frozenset(self.objects.items()), tuple(sorted(self.late, key=repr)) if self.late else ()

    def copy(self) -> World:
        """The content of the bucket, without the requests on their way."""
        made = World()
        made.objects = dict(self.objects)
        return made


@functools.cache
def etag_of(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


class ModelBucket:
    """A Bucket each of whose requests is a step of its own."""

    async def get(self, key: str, first: int = 0, limit: int | None = None) -> Got | None:
        got: Got | None = await Request("get", key, first=first, limit=limit)
        return got

    async def get_changed(self, key: str, etag: str) -> Got | Unchanged | None:
        got = await self.get(key)
        return UNCHANGED if got is not None and got.etag == etag else got

    async def put(self, key: str, data: Any, when: When) -> str:
        answer = await Request("put", key, bytes(data), when)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    async def delete(self, keys: Sequence[str]) -> None:
        await Request("delete", "", keys=tuple(keys))

    async def list(self, folder: str, after: str) -> ListPage:
        return ListPage(await Request("list", folder, after.encode()), False)


class ModelClock:
    """A clock that does not move, and txns that are the same in every run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.last = ""  # the last txn that it made
        self.made: Callable[[str], None] = lambda write: None  # is called with each
        self._count = 0

    def now_ns(self) -> int:
        return 1_700_000_000_000_000_000

    async def sleep(self, seconds: float) -> None:
        return

    def new_txn(self) -> str:
        self._count += 1
        self.last = f"{self.name}{self._count}".rjust(26, "0")
        self.made(self.last)
        return self.last


class Faults(NamedTuple):
    """How many faults of each kind one run may have."""

    lost: int = 0
    false_412: int = 0
    late: int = 0
    twice: int = 0


Process = Callable[[Any, ModelBucket, ModelClock], Coroutine[Any, Any, None]]  # the first is the watcher
Choice = tuple[str, int]


class Scene(NamedTuple):
    """What is explored. `watcher` makes the watcher of one run. `before` has run when it begins."""

    processes: dict[str, Process]
    faults: Faults
    watcher: Callable[[World], Watcher]
    before: Process | None = None


class Watcher:
    """Watches one run. `facts` is everything that its later verdicts depend on."""

    def facts(self) -> object:
        return None

    def step(self) -> None:
        """After each step; raises AssertionError where the state is wrong."""

    def left(self, world: World) -> None:
        """All processes are dead: judge what is left, of which this is a copy. Raises AssertionError."""


class Run:
    """One run of a scene, along a list of choices."""

    def __init__(self, scene: Scene) -> None:
        self.world = World()
        self.watcher = scene.watcher(self.world)
        if scene.before is not None:
            run_alone(self.world, scene.before, "b", self.watcher)
        self._names = list(scene.processes)
        self._left = scene.faults
        self._waits: list[Request | None] = []
        self._coroutines: list[Coroutine[Any, Any, None]] = []
        self._answers = [hashlib.blake2b(digest_size=16) for _ in self._names]
        for name, process in scene.processes.items():
            self._coroutines.append(process(self.watcher, ModelBucket(), ModelClock(name)))
            self._waits.append(None)
        for number in range(len(self._names)):
            self._resume(number, None)

    def choices(self) -> list[Choice]:
        """All that may happen next."""
        found: list[Choice] = [("arrives", number) for number in range(len(self.world.late))]
        for number, request in enumerate(self._waits):
            if request is None:
                continue
            found.append(("answered", number))
            conditional = request.kind == "put" and request.when is not None
            if conditional and self._left.lost:
                found.append(("lost", number))
            if conditional and self._left.false_412:
                found.append(("false_412", number))
            if conditional and self._left.late:
                found.append(("late", number))
            if request.kind in ("put", "delete") and self._left.twice:
                found.append(("twice", number))
        return found

    def take(self, choice: Choice) -> None:
        """Do one of these choices. Raises AssertionError if the watcher finds something wrong."""
        what, number = choice
        world = self.world
        if what == "arrives":
            world.apply(world.late.pop(number))
            self.watcher.step()
            return
        request = self._waits[number]
        assert request is not None
        match what:
            case "answered":
                answer = world.apply(request)
            case "lost":
                self._spend(lost=-1)
                world.apply(request)
                answer = Unclear()
            case "false_412":
                self._spend(false_412=-1)
                world.apply(request)
                answer = Refused()
            case "late":
                self._spend(late=-1)
                world.late.append(request)
                answer = Unclear()
            case "twice":
                self._spend(twice=-1)
                answer = world.apply(request)
                world.late.append(request)
        self.watcher.step()
        self._answers[number].update(repr(answer).encode())
        self._resume(number, answer)
        self.watcher.step()

    def key(self) -> object:
        """Equal for two runs with the same futures."""
        answers = tuple(answer.digest() for answer in self._answers)
        return self.world.facts(), answers, self._left, self.watcher.facts()

    def close(self) -> None:
        for coroutine in self._coroutines:
            coroutine.close()

    def _resume(self, number: int, answer: Any) -> None:
        try:
            self._waits[number] = self._coroutines[number].send(answer)
        except StopIteration:
            self._waits[number] = None

    def _spend(self, **spent: int) -> None:
        self._left = self._left._replace(**{k: getattr(self._left, k) + v for k, v in spent.items()})


class Wrong(AssertionError):
    """Something wrong was found. The text has the schedule that leads there."""


def explore(scene: Scene, most_states: int = 10_000_000) -> int:
    """Follow every schedule. Gives the number of states. Raises Wrong at the first wrong one."""
    seen: set[int] = set()
    ends: set[object] = set()
    todo: list[tuple[Choice, ...]] = [()]
    while todo:
        path = todo.pop()
        run = Run(scene)
        try:
            for choice in path:
                run.take(choice)
            while (key := hash(run.key())) not in seen:
                seen.add(key)
                assert len(seen) <= most_states, f"more than {most_states} states: bound the scene"
                end = run.world.facts()[0]
                if end not in ends:
                    ends.add(end)
                    run.watcher.left(run.world.copy())
                choices = run.choices()
                if not choices:
                    break
                todo.extend((*path, choice) for choice in choices[1:])
                path = (*path, choices[0])
                run.take(choices[0])
        except AssertionError as err:
            names = list(scene.processes)
            steps = "\n".join(f"  {what} {names[n] if what != 'arrives' else n}" for what, n in path)
            raise Wrong(f"{err}\nafter these steps:\n{steps}") from err
        finally:
            run.close()
    return len(seen)


def run_alone(world: World, process: Process, name: str, watcher: Watcher | None = None) -> None:
    """Run one process to its end, without any other."""
    coroutine = process(watcher, ModelBucket(), ModelClock(name))
    answer: Any = None
    try:
        while True:
            answer = world.apply(coroutine.send(answer))
    except StopIteration:
        return
    except BlobkeepError as err:
        raise AssertionError(f"{name}: {err}") from err
