"""What accuracy is aimed at, and the words of a gate. Relative errors, |predicted / measured - 1| [share].

The numbers are the project's own aims for cells and loads that no fit has seen (docs/design/accuracy.md keeps them
beside what was reached); they are not measurements.
"""

from __future__ import annotations

from collections.abc import Mapping

CELL_TARGETS: Mapping[str, tuple[float, float]] = {
    "append-d": (0.03, 0.18),
    "p-full:nvlink": (0.022, 0.08),
    "p-full:tcp": (0.06, 0.12),
    "p-delta:tcp": (0.047, 0.085),
    "decode": (0.012, 0.025),
    "stall": (0.04, 0.09),
}
"""Median and 90th percentile by kind."""
ANCHORED_APPEND = (0.025, 0.08)
"""The same for append-d where the launch floor is of the run itself."""
LOAD_TARGETS: Mapping[tuple[str, bool], tuple[float, float]] = {
    ("tpot", False): (0.03, 0.05),
    ("tpot", True): (0.03, 0.05),
    ("ttft", False): (0.20, 0.40),
    ("ttft", True): (0.10, 0.20),
}
"""p50 and p90 by quantity and whether the launch floor is anchored in the run."""
LEAST_TURNS = 100
"""Turns of a class below which its distribution is shown but not gated."""
NEAR_SATURATION = 0.8
"""Share of the busiest place's capacity in use (`busy`), from which nothing is gated [1]."""
COVERAGE = (0.85, 0.95)
"""Share of cells inside their 90 % interval that the pool of all kinds must reach."""
ODD = 0.05
"""Binomial probability below which one kind's coverage counts as a miss."""
RIGHT_ARM = 0.99
"""Share of decided comparisons in which the predicted arm must be the measured one."""


def cell_target(kind: str, *, own_floor: bool) -> tuple[float, float] | None:
    """Return the targets of a kind; `own_floor`: the launch floor was measured in the run that is predicted."""
    if kind == "append-d" and own_floor:
        return ANCHORED_APPEND
    return CELL_TARGETS.get(kind)
