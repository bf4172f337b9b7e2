"""Hand-offs that meet on an idle pair, measured: when the first tokens of k turns come that were sent at once.

    python benchmarks/hand_offs_together.py [FOLDER]

One H200 that P and D share, SGLang 0.5.17, one `ppdsim calibrate --plan FOLDER/plan.yaml` a folder: sglang-router,
P with `SGLANG_DISAGGREGATION_THREAD_POOL_SIZE=16`, mini-lb, and TCP. A load ``k8-64-a`` is 8 first turns of 64 tokens;
letters are repeats. Printed are the medians over repeats of the first, the second, ... first token.

On a shared GPU a send takes 31 ms beside D's decode steps, so these times say nothing of two GPUs. What they do say:
sends follow one another, more threads shorten them, and mini-lb hands a first token on before P has answered. A repeat
in which a turn failed is left out.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from ppdsim import measurements

FOLDER = Path("calibration/experiments/together_h200x1")
MS = 1e3


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for run in sorted(path.parent for path in folder.glob("*/manifest.json")):
        found = measurements.read(run)
        idle: dict[int, list[float]] = defaultdict(list)
        for row in found.prefill:
            idle[row.new_tokens].append(MS * row.ttft_s)
        alone = ", ".join(f"{tokens} tokens {np.median(taken):.1f} ms" for tokens, taken in sorted(idle.items()))
        print(f"{run.name}: {found.manifest.notes[0]}\n  alone: {alone}")
        loads: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for turn in found.load:
            name, _, repeat = turn.run.rpartition("-")
            loads[name][repeat].append(MS * (turn.ttft_s or np.nan))
        for name, repeats in sorted(loads.items()):
            sent = int(name.split("-")[0].removeprefix("k"))
            whole = [sorted(taken) for taken in repeats.values() if len(taken) == sent]
            times = np.median(whole, axis=0)
            apart = np.median(np.diff(times)[1:]) if len(times) > 2 else np.diff(times)[0]
            print(f"  {name:9} {len(whole)} times, {apart:5.1f} ms apart:" + "".join(f"{x:8.1f}" for x in times))


if __name__ == "__main__":
    main()
