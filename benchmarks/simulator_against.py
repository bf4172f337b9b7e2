"""Is this version of the simulator quicker than another one? Both run by turns, so that a busy machine hits both.

    python benchmarks/simulator_against.py OTHER [--rounds 5]

OTHER is another checkout, such as ``git worktree add ../before main`` makes. Each run is a process of its own with that
checkout's ppdsim and benchmarks/simulator.py, and the best of three; the ratio is between the runs of one round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
LINES = {
    "pair, 60 % load": "pair(PAIR_TURNS, 3)",
    "  all columns, log, features": "features(PAIR_TURNS, 3)",
    "256 nodes, sticky": "fleet(FLEET_TURNS, 1, 256, sticky=True)",
}


def turns_per_s(checkout: Path, line: str) -> float:
    """Return the turns a second of CPU time of one line of the table, with the code of a checkout."""
    code = f"from simulator import *; line = {line}; print(line.turns / (line.run_s + line.results_s))"
    paths = os.pathsep.join(map(str, (checkout, checkout / "benchmarks")))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=checkout,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="a checkout of the version to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    other = asked.other.resolve()
    if not (other / "benchmarks/simulator.py").exists():
        parser.error(f"{asked.other}: expected a checkout of ppdsim, with benchmarks/simulator.py")
    print(f"{'':30}{'other':>10}{'this':>10}{'ratio':>8}{'lowest':>8}{'highest':>9}   turns/s; medians")
    for name, line in LINES.items():
        rates: dict[Path, list[float]] = {other: [], HERE: []}
        for number in range(asked.rounds):
            for checkout in (other, HERE) if number % 2 else (HERE, other):
                rates[checkout].append(turns_per_s(checkout, line))
        ratios = [new / old for old, new in zip(rates[other], rates[HERE], strict=True)]
        old, new, ratio = map(statistics.median, (rates[other], rates[HERE], ratios))
        print(f"{name:30}{old:>10,.0f}{new:>10,.0f}{ratio:>8.2f}{min(ratios):>8.2f}{max(ratios):>9.2f}", flush=True)


if __name__ == "__main__":
    main()
