"""What a measurement is: cases, their values, medians and percentiles. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

Values = dict[str, float]
"""By name with its unit: per_s, cpu_us, p50_us, p99_us, errors, mib_per_s, cpu_us_per_mib, grown_mib,
seconds, cpu_s, percent."""


@dataclass(frozen=True)
class Case:
    """One row of a table. `headline`: the value that is compared between peers.

    `run` gets what the case runs on, and for how many seconds. Its list says on what: a started peer, or a
    folder for those that start processes themselves.
    """

    name: str
    headline: str
    run: Callable[..., Values]
    once: bool = False  # one round is enough, and more would take long


@dataclass(frozen=True)
class Figure:
    """What one run of one case on one peer measured."""

    case: str
    peer: str
    values: Values


def p50_p99(times: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile of some times, which are not empty; sorts them."""
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def median(figures: list[Figure], case: str, peer: str, name: str) -> float | None:
    """The median of one value over the rounds; None where it was not measured."""
    found = sorted(f.values[name] for f in figures if (f.case, f.peer) == (case, peer) and name in f.values)
    if not found:
        return None
    middle = len(found) // 2
    return found[middle] if len(found) % 2 else (found[middle - 1] + found[middle]) / 2
