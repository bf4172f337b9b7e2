"""How well the curves predict cells they have not seen: leave-one-out on the committed grid, beside the targets.

    python benchmarks/accuracy.py [MEASUREMENTS]

Median and 90th percentile of the absolute relative error over both splits (a left-out L or m leaves every kind and arm;
decode leaves out one batch, then one context), and the share of left-out cells inside the within-run 90 % interval.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ppdsim import measurements
from ppdsim.calibrate.fit import fit_profile
from ppdsim.card import card_of

GRID = Path(__file__).parent.parent / "calibration/measurements/h200x2_llama-3.1-8b_sglang-0.5.17"
TARGETS = {  # per cent: median, 90th percentile
    "append-d": (2.5, 7.0),
    "p-full:nvlink": (2.5, 11.0),
    "p-full:tcp": (3.5, 10.0),
    "p-delta:tcp": (6.5, 12.0),
    "decode": (1.0, 2.5),
    "stall": (4.0, 10.0),
}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else GRID
    card = card_of(fit_profile(measurements.read(folder)))
    print(f"{card.id}: leave-one-out, absolute relative error in %")
    print(f"{'kind':<16}{'cells':>6}{'median':>8}{'p90':>7}{'target':>14}{'repeat noise':>14}{'in interval':>13}")
    inside = total = 0.0
    for c in card.cards:
        median, p90 = 100 * c.left_out_median, 100 * c.left_out_p90
        target = TARGETS.get(c.kind)
        words = f"{target[0]:g} / {target[1]:g}" if target else "-"
        missed = " missed" if target and (round(median, 1) > target[0] or round(p90, 1) > target[1]) else ""
        noise = "-" if c.repeat_noise_median != c.repeat_noise_median else f"{100 * c.repeat_noise_median:.1f}"
        coverage = c.coverage_within_run or 0.0
        inside, total = inside + coverage * c.cells, total + c.cells
        print(
            f"{c.kind:<16}{c.cells:>6}{median:>8.1f}{p90:>7.1f}{words:>14}{noise:>14}{100 * coverage:>11.0f} %{missed}"
        )
    print(
        f"pooled: {100 * inside / total:.0f} % of left-out cells inside the within-run 90 % interval (target 85 to 95)"
    )


if __name__ == "__main__":
    main()
