"""The model test over HTTP: a real server beside a dictionary, with restarts, kills and gc passes."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from services.engines.local.upkeep.collector import Collector
from tests.support import rules
from tests.support.campaign import SEED, SIZE, tally
from tests.support.processes import Server

LOCATIONS = st.sampled_from(["a", "b/c", "b/d", "%E2%9C%93"])
BODIES = st.one_of(st.binary(max_size=40), st.integers(0, 255).map(lambda n: bytes([n]) * 100_000))


class HttpMachine(RuleBasedStateMachine):
    """One history. `model`: the values that must be there, by location."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="blobkeep-model-"))
        self.root = self.base / "data"
        self.model: dict[str, bytes] = {}

    @initialize(
        id_bits=st.sampled_from(["16", "32"]), sync=st.sampled_from(["journal", "journal", "folder", "none"])
    )
    def start(self, id_bits: str, sync: str) -> None:
        self.server = Server(self.root, "--id-bits", id_bits, "--sync", sync)

    @rule(location=LOCATIONS, body=BODIES)
    def create(self, location: str, body: bytes) -> None:
        answer = self.server.ask("POST", f"/store/{location}", body)
        assert answer.status == (409 if location in self.model else 201)
        self.model.setdefault(location, body)

    @rule(location=LOCATIONS, body=BODIES)
    def update(self, location: str, body: bytes) -> None:
        answer = self.server.ask("PUT", f"/store/{location}", body)
        assert answer.status == (200 if location in self.model else 404)
        if location in self.model:
            self.model[location] = body

    @rule(location=LOCATIONS)
    def delete(self, location: str) -> None:
        answer = self.server.ask("DELETE", f"/store/{location}")
        assert answer.status == (200 if location in self.model else 404)
        self.model.pop(location, None)

    @rule(location=LOCATIONS, first=st.integers(0, 30), last=st.integers(0, 30))
    def read_a_part(self, location: str, first: int, last: int) -> None:
        if first > last:
            return
        headers = {"Range": f"bytes={first}-{last}"}
        answer = self.server.ask("GET", f"/store/{location}", headers=headers)
        if location not in self.model:
            assert answer.status == 404
        elif first >= len(self.model[location]):
            assert answer.status == 416
        else:
            assert (answer.status, answer.body) == (206, self.model[location][first : last + 1])

    @rule()
    def collect(self) -> None:
        gc = Collector(rules.layout_of(str(self.root)), 5.0, slice_folders=1 << 32)
        gc.run_once()
        gc.close()

    @rule()
    def restart(self) -> None:
        assert self.server.stop() == 0
        self.server.restart()

    @rule()
    def kill(self) -> None:
        self.server.kill()
        self.server.restart()

    @invariant()
    def everyone_agrees(self) -> None:
        if not hasattr(self, "server"):
            return
        tally("states of a server compared", 1)
        for location in ("a", "b/c", "b/d", "%E2%9C%93"):
            answer = self.server.ask("GET", f"/store/{location}")
            found = answer.body if answer.status == 200 else None
            assert (answer.status in (200, 404), found) == (True, self.model.get(location))
        listed = json.loads(self.server.ask("GET", "/store/").body)["blobs"]
        assert {blob["location"] for blob in listed} == {
            at.replace("%E2%9C%93", "\u2713") for at in self.model
        }
        assert sorted(rules.live_blobs(str(self.root)).values()) == sorted(self.model.values())

    def teardown(self) -> None:
        try:
            if hasattr(self, "server"):
                self.server.end()
                assert not (broken := rules.broken_rules(str(self.root))), broken
        finally:
            shutil.rmtree(self.base)


def test_a_server_is_a_dictionary() -> None:
    run_state_machine_as_test(
        seed(SEED)(HttpMachine),
        settings=settings(
            max_examples=3 * SIZE or 200,
            stateful_step_count=15,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
