"""Makes docs/performance.md and its plots from the figures of one run. Keeps the part written by hand."""

from __future__ import annotations

import os
import platform
import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from bench import background, cases, large, limits, paced
from bench.measure import Case, Figure, median
from bench.targets import verdicts

BY_HAND = "<!-- What follows is written by hand, and kept when this page is made anew. -->"
OURS = "blobkeep"
_COLORS = ["#1f6feb", "#8fb8f6", "#2da44e", "#bf8700", "#cf222e", "#8250df", "#6e7781"]


def machine() -> dict[str, str]:
    """What the run was made on."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "memory": f"{memory_gib:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def page(about: dict[str, str], figures: list[Figure]) -> str:
    """The page, without the part that is written by hand."""
    names = [*dict.fromkeys(f.peer for f in figures if f.peer != "limit")]
    parts = [
        "# Performance",
        _wrapped(
            "Measured by `make bench` on real servers: each case runs on one server after the other, in "
            "rounds, and the tables show the medians. The server has one core and the load has the other; "
            "at a restart the server has all cores, and in the cases with *all cores* both share them. The "
            "load is wrk, or a program of ours for large bodies and deletes. On a shared machine the CPU a "
            "request and the ratios say more than the rates."
        ),
        "\n".join(_wrapped(f"- {key}: {value}", "  ") for key, value in about.items()),
        _wrapped(
            "The peers are nginx with its DAV module and one worker; the object server of OpenStack "
            "Swift; wsgidav; copyparty; and the original Go server. `blobkeep, stock Tornado` is the same "
            "program on Tornado's own HTTP connection. Only Swift and Blobkeep sync: the others do not "
            "have a write on disk when they acknowledge it."
        ),
        "## Against the targets\n\n" + verdicts(figures),
        "## Small requests\n\nRequests a second, CPU of the server a request, and the 99th percentile.\n\n"
        + _table(cases.CASES, names, figures, _rate),
        _plots(),
        "## Large bodies\n\nMiB a second, CPU of the server a MiB, and by how much its memory grew.\n\n"
        + _table(large.CASES, names, figures, _large),
        "## Steady reads\n\nSixteen connections, timed by the system from the request to its answer "
        "(`bench/paced.py`).\n\n" + _table(paced.CASES, names, figures, _background),
        "## Restart\n\n" + _table(background.RESTARTS, names, figures, _restart),
        "## Beside the requests\n\n" + _table(background.CASES, [OURS], figures, _background),
        "## What the machine can do\n\n" + _table(limits.CASES, ["limit"], figures, _limit),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _wrapped(text: str, indent: str = "") -> str:
    """`text` in lines of at most 100 columns. All but the first begin with `indent`."""
    return textwrap.fill(text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def write(about: dict[str, str], figures: list[Figure], folder: Path) -> None:
    """Write performance.md and its plots into `folder`."""
    path = folder / "performance.md"
    old = path.read_text() if path.exists() else ""
    by_hand = old[old.index(BY_HAND) :] if BY_HAND in old else BY_HAND + "\n"
    plot(figures, folder)
    path.write_text(page(about, figures) + "\n" + by_hand)


Cell = Callable[[list[Figure], str, str], str]


def _table(rows: Iterable[Case], peers: list[str], figures: list[Figure], cell: Cell) -> str:
    """A Markdown table of the measured cases. A peer without any result is left out."""
    rows = [case for case in rows if any(f.case == case.name for f in figures)]
    names = {case.name for case in rows}
    peers = [peer for peer in peers if any(f.peer == peer and f.case in names for f in figures)]
    if not rows:
        return "Not measured in this run."
    others = [peer for peer in peers if peer != OURS] if OURS in peers else []
    head = ["case", *peers, *(f"x {peer}" for peer in others)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for case in rows:
        cells = [cell(figures, case.name, peer) for peer in peers]
        ours = median(figures, case.name, OURS, case.headline)
        for peer in others:
            theirs = median(figures, case.name, peer, case.headline)
            cells.append(f"{ours / theirs:.2f}" if ours is not None and theirs else "")
        lines.append(f"| {case.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _errors(figures: list[Figure], case: str, peer: str) -> str:
    count = sum(f.values.get("errors", 0) for f in figures if (f.case, f.peer) == (case, peer))
    return f", {count:.0f} errors" if count else ""


def _rate(figures: list[Figure], case: str, peer: str) -> str:
    rate, cpu, p99 = (median(figures, case, peer, n) for n in ("per_s", "cpu_us", "p99_us"))
    if rate is None or cpu is None or p99 is None:
        return ""
    return f"{rate:,.0f}/s, {cpu:,.0f} µs, {p99 / 1000:.1f} ms{_errors(figures, case, peer)}"


def _large(figures: list[Figure], case: str, peer: str) -> str:
    rate, cpu, grown = (median(figures, case, peer, n) for n in ("mib_per_s", "cpu_us_per_mib", "grown_mib"))
    if rate is None or cpu is None or grown is None:
        return ""
    if "slow" in case:
        return f"+ {grown:.0f} MiB"
    return f"{rate:,.0f} MiB/s, {cpu:,.0f} µs, + {grown:.0f} MiB"


def _restart(figures: list[Figure], case: str, peer: str) -> str:
    seconds, cpu, rss = (median(figures, case, peer, n) for n in ("seconds", "cpu_s", "rss_mib"))
    if seconds is None or cpu is None or rss is None:
        return ""
    return f"{seconds:.2f} s, {cpu:.2f} s CPU, {rss:.0f} MiB resident"


def _background(figures: list[Figure], case: str, peer: str) -> str:
    def value(name: str) -> float:
        return median(figures, case, peer, name) or 0.0

    if "idle" in case:
        each = ", ".join(f"{n} {value(f'{n}_percent'):.2f} %" for n in ("server", "gc", "recovery"))
        return f"{value('cpu_s'):.0f} s of CPU ({each} of a core)"
    if "reclaim" in case and "GET" not in case:
        return f"{value('seconds'):.2f} s, {value('cpu_s'):.2f} s CPU"
    latency = f"p50 {value('p50_us') / 1000:.1f} ms, p99 {value('p99_us') / 1000:.1f} ms"
    return f"{value('per_s'):,.0f}/s, {latency}{_errors(figures, case, peer)}"


def _limit(figures: list[Figure], case: str, peer: str) -> str:
    rate, p50, p99 = (median(figures, case, peer, n) for n in ("per_s", "p50_us", "p99_us"))
    if rate is None:
        mib, cpu = (median(figures, case, peer, n) or 0.0 for n in ("mib_per_s", "cpu_us_per_mib"))
        return f"{mib:,.0f} MiB/s, {cpu:,.0f} µs CPU a MiB"
    return f"{rate:,.0f}/s" + (f", a sync p50 {p50:.0f} µs, p99 {p99:.0f} µs" if p50 and p99 else "")


_PLOTS = {
    "rates.svg": ("per_s", "requests a second"),
    "cpu.svg": ("cpu_us", "CPU of the server, µs a request"),
    "p99.svg": ("p99_us", "99th percentile, µs"),
}


def _plots() -> str:
    return "\n".join(f"![{label}](plots/{name})" for name, (_, label) in _PLOTS.items())


def plot(figures: list[Figure], folder: Path) -> None:
    """Bars of every small case, on logarithmic axes, a plot a value."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "blobkeep"  # so that the same figures give the same file
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    measured = [case for case in cases.CASES if any(f.case == case.name for f in figures)]
    names = [case.name for case in measured]
    peers = [*dict.fromkeys(f.peer for f in figures if f.case in names)]
    if not names:
        return
    for file_name, (value, label) in _PLOTS.items():
        drawn, axes = plt.subplots(figsize=(9, 1 + 0.14 * len(names) * (len(peers) + 1)))
        height = 0.85 / len(peers)
        for number, peer in enumerate(peers):
            at = [row + number * height for row in range(len(names))]
            found = [median(figures, case, peer, value) or 0.0 for case in names]
            axes.barh(at, found, height, label=peer, color=_COLORS[number % len(_COLORS)])
        axes.set_yticks([row + 0.4 for row in range(len(names))], names)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=4, fontsize="small", frameon=False)
        axes.grid(axis="x", alpha=0.3)
        drawn.tight_layout()
        drawn.savefig(folder / "plots" / file_name, metadata={"Date": None})
        plt.close(drawn)
