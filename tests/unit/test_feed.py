"""The feed of transitions, the histogram, and the samples of the last ten minutes."""

from __future__ import annotations

import random

import pytest

from common.histogram import Histogram, quantile
from common.self_report import NamedBlob
from common.states import State
from services.engines.local.disk import record
from services.engines.local.disk.record import BlobRecord
from services.watch.feed import KEPT, Feed
from services.watch.request_log import BOUNDS_S, RequestLog
from services.watch.samples import Samples, sum_over


def _complete(blob_id: int = 1) -> BlobRecord:
    first = record.created(blob_id, "a", blob_id, "made", 1, "text/plain", "")
    return first.advanced(State.PENDING, "writing", 2).completed(5, b"s" * 32, b"c" * 4, 3)


def test_each_transition_is_told_once_in_order() -> None:
    feed = Feed()
    done = _complete()
    feed.told(done, 0)
    feed.told(done.advanced(State.FAILURE, "deleted", 4), 3)
    assert [(e.number, e.state, e.text) for e in feed.after(0)] == [
        (1, "OK", "made"),
        (2, "Pending", "writing"),
        (3, "OK", "Blob Data WR Complete!"),
        (4, "Failure", "deleted"),
    ]
    assert [e.number for e in feed.after(3)] == [4]
    assert feed.after(4) == feed.after(99) == []
    assert feed.counts == {"OK": 2, "Pending": 1, "Failure": 1}


def test_the_feed_keeps_the_newest() -> None:
    feed = Feed()
    for number in range(KEPT):
        feed.told(_complete(number), 0)
    assert [e.number for e in feed.after(0)] == list(range(2 * KEPT + 1, 3 * KEPT + 1))


def test_workers_add_what_they_did() -> None:
    feed = Feed()
    feed.removed((NamedBlob(7, "a", "removed"),), 40)
    feed.damaged(NamedBlob(8, None, "rotten"))
    assert [(e.id, e.state, e.text) for e in feed.after(0)] == [
        (7, "Removed", "removed"),
        (8, "Damaged", "rotten"),
    ]
    assert feed.counts == {"Removed": 40, "Damaged": 1}


def test_a_quantile_is_within_the_bucket_of_the_true_one() -> None:
    rng = random.Random(6)
    bounds = (0.001, 0.01, 0.1, 1.0)
    for _ in range(200):
        values = sorted(rng.choice(bounds) * rng.uniform(0.2, 1.0) for _ in range(rng.randint(1, 50)))
        histogram = Histogram(bounds)
        for value in values:
            histogram.add(value)
        share = rng.choice((0.01, 0.5, 0.99, 1.0))
        true = values[max(0, -(-int(share * 1000) * len(values) // 1000) - 1)]
        at = next(i for i, bound in enumerate(bounds) if true <= bound)
        found = quantile(bounds, histogram.buckets, share)
        assert found is not None
        assert (bounds[at - 1] if at else 0.0) <= found * (1 + 1e-9)
        assert found <= bounds[at] * (1 + 1e-9)
        assert histogram.count == len(values)
        assert histogram.sum == pytest.approx(sum(values))


def test_no_values_have_no_quantile_and_great_ones_the_last_bound() -> None:
    assert quantile((1.0,), [0, 0], 0.5) is None
    assert quantile((1.0,), [0, 3], 0.5) == 1.0


def test_a_sample_is_the_difference_of_a_second() -> None:
    log, samples = RequestLog(), Samples()
    samples.add(sum_over(log.tallies.values(), 100.0, 0, 0, 0))
    for _ in range(10):
        log.answered("GET", 200, "/", 0.0002, 1, 100, "::1")
    log.answered("PUT", 500, "/", 0.2, 1000, 0, "::1")
    samples.add(sum_over(log.tallies.values(), 102.0, 7, 70, 3))
    samples.add(sum_over(log.tallies.values(), 103.0, 2, 20, 3))  # the gc was started anew
    first, second = samples.kept
    assert (first.requests, first.errors, first.bytes_in, first.bytes_out) == (5.5, 0.5, 505, 500)
    assert (first.removed, first.freed_bytes, first.scrubbed_bytes) == (7, 70, 3)
    assert first.p50_ms is not None
    assert BOUNDS_S[0] * 1000 <= first.p50_ms <= BOUNDS_S[1] * 1000
    assert (second.requests, second.p50_ms, second.removed, second.scrubbed_bytes) == (0, None, 2, 0)


def test_a_clock_that_is_set_back_makes_no_sample() -> None:
    samples = Samples()
    for time_s in (100.0, 50.0, 51.0):
        samples.add(sum_over((), time_s, 0, 0, 0))
    assert [one.time_s for one in samples.kept] == [51.0]
