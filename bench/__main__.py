"""`python -m bench`: every case on every installed peer, in alternation; medians and ratios as a table."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from bench import peers
from bench.cases import CASES, Case, Figure


def main() -> int:
    """Run what the flags say; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median of them counts")
    parser.add_argument("--only", default="", help="only cases whose names hold this")
    parser.add_argument("--peers", default="", help="only these peers, separated by commas")
    parser.add_argument("--go", metavar="BINARY", help="the original server's program")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="where data go")
    parser.add_argument("--json", type=Path, help="write every figure here, too")
    options = parser.parse_args()
    names = [n for n in peers.available(options.go) if not options.peers or n in options.peers.split(",")]
    cases = [case for case in CASES if options.only in case.name]
    figures: dict[tuple[str, str], list[Figure]] = {}
    for number in range(options.rounds):
        for name in names:
            with peers.started(name, options.dir, options.go) as peer:
                for case in cases:
                    figures.setdefault((case.name, name), []).append(case.measure(peer, options.seconds))
                    sys.stderr.write(f"round {number + 1}: {name}: {case.name}\n")
    sys.stdout.write(table(cases, names, figures))
    if options.json:
        options.json.write_text(
            json.dumps(
                {f"{case}|{peer}": [vars(f) for f in found] for (case, peer), found in figures.items()}
            )
        )
    return 0


Figures = dict[tuple[str, str], list[Figure]]
"""What was measured, by case and peer, a figure a round."""


def table(cases: list[Case], names: list[str], figures: Figures) -> str:
    """A Markdown table: medians of rate, CPU a request and p99; the first peer's rate over each other's."""
    lines = [
        "| case | " + " | ".join(names) + " | " + " | ".join(f"x {n}" for n in names[1:]) + " |",
        "|---|" + "---|" * (2 * len(names) - 1),
    ]
    for case in cases:
        rates = {name: statistics.median(f.rate for f in figures[case.name, name]) for name in names}
        cells = []
        for name in names:
            found = figures[case.name, name]
            cpu = statistics.median(f.cpu_us for f in found)
            p99 = statistics.median(f.p99_us for f in found)
            errors = sum(f.errors for f in found)
            failed = f", {errors} errors" if errors else ""
            cells.append(f"{rates[name]:,.0f}/s, {cpu:,.0f} µs CPU, p99 {p99 / 1000:.1f} ms{failed}")
        ratios = [f"{rates[names[0]] / rates[name]:.2f}" for name in names[1:]]
        lines.append(f"| {case.name} | " + " | ".join(cells + ratios) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
