"""The targets, one row each: a ratio of two measured values, what was wanted, and what came out."""

from __future__ import annotations

from collections.abc import Callable

from bench.measure import Figure, median

_GET = "GET 1 KiB, 16 connections"
_CREATE = "create 1 KiB, 16 connections"
_OURS = "blobkeep"
_LIMIT = "limit"

Value = Callable[[list[Figure]], float | None]


def _value(case: str, peer: str, name: str) -> Value:
    return lambda figures: median(figures, case, peer, name)


def _ratio(above: Value, below: Value) -> Value:
    def ratio(figures: list[Figure]) -> float | None:
        top, bottom = above(figures), below(figures)
        return top / bottom if top is not None and bottom else None

    return ratio


def _against(case: str, peer: str, name: str = "per_s") -> Value:
    """Our rate divided by theirs. Where lower is better, theirs divided by ours."""
    ours, theirs = _value(case, _OURS, name), _value(case, peer, name)
    return _ratio(ours, theirs) if name in ("per_s", "mib_per_s") else _ratio(theirs, ours)


def _at_least(wanted: float) -> tuple[str, Callable[[float], bool]]:
    return f"≥ {wanted:g}", lambda found: found >= wanted


def _at_most(wanted: float) -> tuple[str, Callable[[float], bool]]:
    return f"≤ {wanted:g}", lambda found: found <= wanted


_RESTART = "restart with 60,000 blobs after kill -9, to the first answer"
_EMPTY = "restart with 0 blobs after kill -9, to the first answer"
_IDLE = "an idle hour with 60,000 blobs"
_QUIET = "create 1 KiB, 16 connections, quiet"
_BESIDE = "GET 1 KiB, 1,000 a second, while 1 GiB after 1 GiB comes in"
_NEIGHBOUR = "create 1 KiB, 16 connections, while a neighbour dirties the disk"


def _bytes_a_blob(figures: list[Figure]) -> float | None:
    full, bare = median(figures, _RESTART, _OURS, "rss_mib"), median(figures, _EMPTY, _OURS, "rss_mib")
    return (full - bare) * (1 << 20) / 60_000 if full is not None and bare is not None else None


TARGETS: list[tuple[str, tuple[str, Callable[[float], bool]], Value]] = [
    ("GET 1 KiB, 16 connections, against nginx: rate", _at_least(1.0), _against(_GET, "nginx")),
    ("the same: CPU a request", _at_least(1.0), _against(_GET, "nginx", "cpu_us")),
    ("the same against the Go server: rate", _at_least(2.0), _against(_GET, "go server")),
    (
        "the same against itself on stock Tornado: CPU a request",
        _at_least(2.0),
        _against(_GET, "blobkeep, stock Tornado", "cpu_us"),
    ),
    *(
        (
            f"{case}, 16 connections, against nginx: rate",
            _at_least(wanted),
            _against(f"{case}, 16 connections", "nginx"),
        )
        for case, wanted in (
            *(("GET 64 KiB", 1.0), ("GET 1 MiB", 1.0)),
            *(("GET 64 KiB cold", 0.8), ("GET 1 MiB cold", 0.8)),
        )
    ),
    ("GET of 1 GiB against nginx: rate", _at_least(0.5), _against("GET of 1 GiB", "nginx", "mib_per_s")),
    ("create 1 KiB, 16 connections, against the Go server", _at_least(2.5), _against(_CREATE, "go server")),
    ("the same with all cores for both", _at_least(4.0), _against(f"{_CREATE}, all cores", "go server")),
    ("create 1 KiB, 16 connections, against Swift", _at_least(5.0), _against(_CREATE, "swift")),
    (
        "the same against bare files with one sync a batch",
        _at_least(0.6),
        _ratio(
            _value(_CREATE, _OURS, "per_s"), _value("folders with two files, 16 to a sync", _LIMIT, "per_s")
        ),
    ),
    (
        "the same against the disk's syncs alone",
        _at_least(0.6),
        _ratio(
            _value(_CREATE, _OURS, "per_s"), _value("records made durable, 16 at a time", _LIMIT, "per_s")
        ),
    ),
    (
        "create 1 KiB, 1 connection: p50 in syncs",
        _at_most(2.5),
        _ratio(
            _value("create 1 KiB, 1 connection", _OURS, "p50_us"),
            _value("records made durable, 1 at a time", _LIMIT, "p50_us"),
        ),
    ),
    (
        "create while a neighbour dirties 400 MB/s, of the quiet rate",
        _at_least(0.5),
        _ratio(_value(_NEIGHBOUR, _OURS, "per_s"), _value(_QUIET, _OURS, "per_s")),
    ),
    ("the same: p99 in µs", _at_most(50_000), _value(_NEIGHBOUR, _OURS, "p99_us")),
    (
        "replace, of create",
        _at_least(0.5),
        _ratio(_value("replace 1 KiB, 16 connections", _OURS, "per_s"), _value(_CREATE, _OURS, "per_s")),
    ),
    (
        "delete, of create",
        _at_least(1.0),
        _ratio(_value("delete, 16 connections", _OURS, "per_s"), _value(_CREATE, _OURS, "per_s")),
    ),
    ("restart with 60,000 blobs: seconds", _at_most(1.0), _value(_RESTART, _OURS, "seconds")),
    (
        "the same, of the Go server's time",
        _at_most(0.7),
        _ratio(_value(_RESTART, _OURS, "seconds"), _value(_RESTART, "go server", "seconds")),
    ),
    ("memory: bytes a blob", _at_most(400), _bytes_a_blob),
    ("GET beside uploads of 1 GiB: p99 in µs", _at_most(5_000), _value(_BESIDE, _OURS, "p99_us")),
    ("upload of 1 GiB: growth in MiB", _at_most(32), _value("upload of 1 GiB", _OURS, "grown_mib")),
    (
        "upload of 32 x 64 MiB at once: growth in MiB",
        _at_most(32),
        _value("upload of 32 x 64 MiB at once", _OURS, "grown_mib"),
    ),
    ("50 slow readers: growth in MiB", _at_most(32), _value("50 slow readers of 64 MiB", _OURS, "grown_mib")),
    ("idle gc, 60,000 blobs: percent of a core", _at_most(0.5), _value(_IDLE, _OURS, "gc_percent")),
    (
        "idle recovery worker, 60,000 blobs: percent of a core",
        _at_most(0.5),
        _value(_IDLE, _OURS, "recovery_percent"),
    ),
]


def verdicts(figures: list[Figure]) -> str:
    """A Markdown table: every target, what was measured, whether it is reached."""
    lines = ["| target | wanted | measured | reached |", "|---|---|---|---|"]
    for text, (wanted, holds), value in TARGETS:
        found = value(figures)
        measured = "not in this run" if found is None else f"{found:,.2f}" if found < 100 else f"{found:,.0f}"
        reached = "" if found is None else "yes" if holds(found) else "**no**"
        lines.append(f"| {text} | {wanted} | {measured} | {reached} |")
    return "\n".join(lines)
