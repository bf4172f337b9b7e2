"""Where the simulator's time goes: share of each module in a run of one pair at 60 % load (docs/design/speed.md).

    python benchmarks/profile_simulator.py

The profiler makes small functions look slower than they are; read it as an order, not as a sum.
"""

from __future__ import annotations

import cProfile
import pstats
from collections import Counter
from pathlib import PurePath

from simulator import PAIR_TURNS, chat, run


def main() -> None:
    scenario = chat(PAIR_TURNS)
    profile = cProfile.Profile()
    line = profile.runcall(run, scenario)
    shares: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for (file, _, _), (_, count, own_s, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        name = "/".join(PurePath(file).parts[-2:]) if file.endswith(".py") else "built-in functions"
        shares[name] += own_s
        calls[name] += count
    total_s = sum(shares.values())
    print(f"{'module':32}{'share':>8}{'calls/turn':>12}")
    for name, own_s in shares.most_common(20):
        print(f"{name:32}{own_s / total_s:>8.1%}{calls[name] / line.turns:>12.1f}")


if __name__ == "__main__":
    main()
