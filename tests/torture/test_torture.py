"""The supervised system keeps its promise under load and kills. The long run: `make torture`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.torture import campaign
from tests.torture.bodies import Bodies

SEED = int(os.environ.get("CAMPAIGN_SEED") or 1)
SECONDS = 5.0


@pytest.mark.timeout(900)
@pytest.mark.parametrize("few_ids", [False, True], ids=["all-ids", "few-ids"])
def test_an_order_explains_what_clients_saw_while_processes_were_killed(
    few_ids: bool, tmp_path: Path
) -> None:
    print(f"SEED={SEED}")  # noqa: T201 - shown where it fails
    # With few ids each is soon used again, so that a reader might take one blob for another.
    outcome = campaign.run(SEED, SECONDS, few_ids=few_ids, home=tmp_path, readers=int(few_ids))
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert outcome.counts["answered"] > 0
    assert outcome.kills


@pytest.mark.parametrize("size", [16, 17, 31, 32, 100])
def test_any_part_of_a_body_says_whose_it_is(size: int) -> None:
    bodies = Bodies()
    bodies.make(1000)
    number, body = bodies.make(size)
    assert len(body) == size
    for first in range(size):
        for end in range(first + 31, size + 1):
            assert bodies.whose(body[first:end], first, size) == number


@pytest.mark.parametrize("at", [0, 7, 8, 15, 16, 50, 99])
def test_one_wrong_byte_is_noticed(at: int) -> None:
    bodies = Bodies()
    bodies.make(100)
    _, body = bodies.make(100)
    wrong = bytearray(body)
    wrong[at] ^= 1
    with pytest.raises(ValueError, match=r"write|bytes|invalid"):
        bodies.whose(bytes(wrong))


def test_a_mixture_of_two_writes_is_noticed() -> None:
    bodies = Bodies()
    (_, one), (_, other) = bodies.make(100), bodies.make(100)
    with pytest.raises(ValueError, match="not all"):
        bodies.whose(one[:50] + other[50:])
    with pytest.raises(ValueError, match="has 100 bytes"):
        bodies.whose(one[:99])
