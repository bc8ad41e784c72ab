"""Caches with a bounded size."""

from __future__ import annotations

import hashlib

from common.bounded import make_room
from common.options import Config
from services.access.decisions import Access
from services.engines.local.disk.blob import Blob
from services.frontends.native.quick_reads import QuickReads
from services.http1 import SteadyCache
from services.http1.limits import Limits
from services.http1.parser import parse_head
from services.http1.server_interface import KnownHeads
from services.watch.request_log import RequestLog
from tests.support.work import is_in_proportion


def test_the_newest_are_kept() -> None:
    cache: dict[int, int] = {}
    for number in range(1000):
        make_room(cache, 10)
        cache[number] = number
        assert list(cache) == list(range(number + 1 - len(cache), number + 1))
        assert min(5, number + 1) <= len(cache) <= 10
    make_room(only := {1: 1}, 1)
    assert not only


def test_what_an_addition_costs_does_not_depend_on_the_size() -> None:
    def add(size: int) -> None:
        cache: dict[int, int] = {}
        for number in range(8 * size):
            make_room(cache, size)
            cache[number] = number

    assert is_in_proportion(add, 16_384)


def test_a_set_larger_than_a_steady_cache_does_not_displace_itself() -> None:
    cache: SteadyCache[int, int] = SteadyCache(100, lambda key, value: 1)
    found = 0
    for number in range(10 * 200):
        if number % 200 in cache:
            found += 1
        else:
            cache.add(number % 200, number)
        assert len(cache) <= 100
    assert found > 10 * 200 // 4  # with room for half of it


def test_what_a_steady_cache_has_is_replaced_and_new_entries_find_their_way() -> None:
    cache: SteadyCache[int, int] = SteadyCache(2, lambda key, value: 1)
    for number in (0, 1, 1):
        cache.add(number, 10 + number)
    cache.add(0, 20)
    assert cache == {0: 20, 1: 11}
    for _ in range(16):
        cache.add(2, 12)
    assert cache == {0: 20, 2: 12}  # what was replaced is no older than what is new


def test_a_steady_cache_holds_no_more_bytes_than_it_may() -> None:
    cache: SteadyCache[int, bytes] = SteadyCache(1000, lambda key, value: len(value))
    for number in range(5000):
        cache.add(number % 7, bytes(number * 37 % 900))
        assert sum(map(len, cache.values())) <= 1000
    cache.add(1, bytes(1001))  # larger than all of it, in place of one that fits
    assert 1 not in cache
    cache.clear()
    cache.add(1, bytes(1000))
    assert list(cache) == [1]
    cache.add(1, bytes(400))
    cache.add(2, bytes(600))  # what the larger one had is free again
    assert list(cache) == [1, 2]


class NoBlobs:
    """What `QuickReads` needs of a store."""

    def peek(self, location: str, *, body: bool = True) -> None:
        return None


def test_heads_and_fields_of_five_thousand_blobs_are_remembered() -> None:
    """`make bench` reads so many in turn. If they did not fit, each request would pay for two entries."""
    heads = KnownHeads()
    quick = QuickReads(NoBlobs(), Access(), RequestLog(), Config())
    for number in range(5120):
        name = f"get-65536-cold{number}"
        lines = f"GET /store/{name} HTTP/1.1\r\nHost: 127.0.0.1:54321\r\n".encode()
        heads.add(lines + b"\r\n", parse_head(lines, Limits()))
        quick.fields_of(
            Blob.make(
                location=name,
                id=number,
                seq=number,
                size=65_536,
                sha256=hashlib.sha256(lines).digest(),
                crcs=bytes(4),
                type="application/octet-stream",
                encoding="",
                modified_ns=1_700_000_000_000_000_000,
            )
        )
    assert len(heads) == len(quick._fields) == 5120
