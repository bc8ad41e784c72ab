"""Servers, gcs and a recovery worker on a SeaweedFS of several processes, with a bad network between them."""

from __future__ import annotations

import asyncio
import http.client
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from services.engines.objects import entry, keys
from services.engines.objects.bucket import pages
from services.engines.objects.client import BucketClient, SystemClock
from services.engines.objects.commit import Tools
from services.engines.objects.development import ACCESS_KEY, BUCKET, SECRET_KEY, free_ports
from services.engines.objects.listing import BucketListing
from services.engines.objects.meter import Meter
from services.engines.objects.pointers import Pointers
from tests.support.environment import environment
from tests.support.fault_proxy import NONE, Door, Faults, Proxy
from tests.support.processes import wait_for
from tests.support.supervised import Supervised, Supervisor
from tests.support.weed_cluster import WeedCluster
from tests.torture.doors import S3
from tests.torture.store_history import StoreHistory

PREFIX = "torture/"
_SERVES_WITHIN_S = 240.0
_SERVERS, _GCS = 3, 2
_PATIENT = {"BLOBKEEP_OBJECTS_TIMEOUT": "30", "BLOBKEEP_OBJECTS_PATIENCE": "60"}
_OPTIONS = {
    "BLOBKEEP_OBJECTS_INLINE": "4096",
    "BLOBKEEP_OBJECTS_PART": str(1 << 20),
    "BLOBKEEP_OBJECTS_READING": "1",
    "BLOBKEEP_OBJECTS_TIMEOUT": "4",
    "BLOBKEEP_OBJECTS_PATIENCE": "6",
    "BLOBKEEP_GC_INTERVAL": "0.2",
    "BLOBKEEP_RECOVERY_INTERVAL": "0.5",
    "BLOBKEEP_SCRUB_RATE": "100",
    "BLOBKEEP_S3_PATH": S3.rstrip("/"),
    "BLOBKEEP_RESTIC": "true",
}


class ObjectsSystem:
    """Everything that `make torture ENGINE=objects` runs. `faults`: of the network between each server
    and the store.
    """

    def __init__(self, home: Path, seed: int, faults: Faults) -> None:
        self._home = home
        self.faults = faults
        (home / "store").mkdir()
        self.cluster = WeedCluster(home / "store")
        self.proxy = Proxy(self.cluster.gateway_ports, seed)
        self.pointers = StoreHistory(f"/{BUCKET}/{PREFIX}{keys.LOC}")
        self.proxy.on_ask = self.pointers.ask
        self.doors = [self.proxy.door() for _ in range(_SERVERS)]
        self._workers_door = self.proxy.door()
        self.ports = free_ports(_SERVERS)
        self.servers: list[Supervised] = []
        self.workers: list[Supervised] = []
        self._supervisor: Supervisor | None = None

    def start(self) -> None:
        """Returns once every server serves. No faults yet."""
        self.cluster.start()
        assert len(self.cluster.store_ids()) == 1, "the store's filers would undo each other's writes"
        self.proxy.start()
        asyncio.run(self._make_bucket())
        for number, (port, door) in enumerate(zip(self.ports, self.doors, strict=True)):
            program = ("services.server", "-s", f"127.0.0.1:{port}")
            self.servers.append(self._make(f"server{number}", door, *program))
        for number in range(_GCS):
            self.workers.append(self._make(f"gc{number}", self._workers_door, "tests.torture.hasty", "gc"))
        self.workers.append(self._make("recovery", self._workers_door, "tests.torture.hasty", "recovery"))
        for process in (*self.servers, *self.workers):
            process.start()
        self._supervisor = Supervisor([*self.cluster.processes, *self.servers, *self.workers])
        self._supervisor.start()
        self.wait_until_serving()

    def create_s3_bucket(self, name: str) -> None:
        """A request to the S3 port of one server."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[0], timeout=60)
        connection.request("PUT", S3 + name)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        connection.close()

    def fault_on(self) -> None:
        """From now on the network is bad."""
        for door in (*self.doors, self._workers_door):
            door.faults = self.faults

    def fault_off(self) -> None:
        """The network is good again. Returns when all late requests have arrived."""
        for door in (*self.doors, self._workers_door):
            door.faults = NONE
        wait_for(self.proxy.is_quiet, 120.0, "the arrival of what was late")

    def wait_until_serving(self) -> None:
        """Return once each server answers a request that asks the store."""
        for port in self.ports:
            wait_for(partial(_answers, port), _SERVES_WITHIN_S, "an answer of every server")

    def end_servers(self) -> None:
        """kill -9 of the servers, for good."""
        assert self._supervisor is not None
        for server in self.servers:
            self._supervisor.leave_alone(server)
            server.end()

    def leftovers(self) -> list[str]:
        """What is wrong in the bucket when no server lives: damage, and data that nothing names.

        Waits until the gc has settled every state object; runs a whole round of the recovery worker.
        """
        try:
            wait_for(lambda: not self._keys(keys.GC), 180.0, "the collection of every state object")
        except AssertionError as err:
            return [f"{err}: {self._about_entries()}"]
        check = self._make("check", self._workers_door, "services.recovery", "--once", patient=True)
        check.start()
        wait_for(lambda: not check.runs(), 180.0, "the check of everything")
        said = check.tail()
        wrong = [] if " 0 damaged" in said else [f"the check said: {said}"]
        wrong += [f"kept as damaged: {key}" for key in self._keys(keys.DAMAGED)]
        there, named = set(self._keys(keys.DATA)), asyncio.run(self._named())
        wrong += [f"leaked: {key}" for key in sorted(there - named)]
        wrong += [f"lost: {key}" for key in sorted(named - there)]
        return wrong

    def close(self) -> None:
        """End everything."""
        if self._supervisor is not None:
            self._supervisor.close()
        for process in (*self.servers, *self.workers, *self.cluster.processes):
            process.end()
        self.proxy.close()

    def _make(self, name: str, door: Door, module: str, *flags: str, patient: bool = False) -> Supervised:
        folder = self._home / name
        folder.mkdir()
        own = {
            "BLOBKEEP_DIR": str(folder / "data"),
            "BLOBKEEP_ENGINE": "objects",
            "BLOBKEEP_OBJECTS_ENDPOINT": f"http://127.0.0.1:{door.port}",
            "BLOBKEEP_OBJECTS_BUCKET": BUCKET,
            "BLOBKEEP_OBJECTS_PREFIX": PREFIX,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            **_OPTIONS,
            **(_PATIENT if patient else {}),
        }
        return Supervised(name, [sys.executable, "-m", module, *flags], folder, environment(**own))

    def _client(self) -> BucketClient:
        return BucketClient(self.cluster.settings(PREFIX), Meter())

    async def _make_bucket(self) -> None:
        # The first object makes the bucket. A cluster that has just started takes a while to take it.
        await self._client().put("made", b"", None)

    def _keys(self, folder: str) -> Sequence[str]:
        async def go() -> list[str]:
            found = [one.key async for page in pages(self._client(), folder) for one in page]
            return [key for key in found if not key.endswith("/keep")]

        return asyncio.run(go())

    async def _named(self) -> set[str]:
        """The keys of all data that pointers name."""
        client, clock = self._client(), SystemClock()
        found: set[str] = set()
        async for _, known in BucketListing(Tools(client, Pointers(client, clock), clock)).pointers(""):
            blob = known.blob
            if blob is not None and blob.facts.part_bytes:
                parts = -(-blob.size // blob.facts.part_bytes)
                found |= {keys.part_key(blob.location, blob.version, part) for part in range(parts)}
                if blob.facts.sums_crc is not None:
                    found.add(keys.sums_key(blob.location, blob.version))
        return found

    def _about_entries(self) -> str:
        async def go() -> list[str]:
            client = self._client()
            said = []
            for key in self._keys_now[:5]:
                got = await client.get(key)
                said.append(repr(entry.decode(got.data)) if got is not None else f"{key} is gone")
            return said

        self._keys_now = self._keys(keys.GC)
        return f"{len(self._keys_now)} are left: {asyncio.run(go())}"


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("GET", "/store/nothing-here")
        return connection.getresponse().status == 404
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
