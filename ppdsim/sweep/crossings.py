"""Where along a numeric key the better of two alternatives changes: the crossover of a sweep, from paired runs.

::

    gain(x, seed) = measure(second, x, seed) - measure(first, x, seed)      > 0: the first is better (smaller is)

Both alternatives have the same seeds (or the same parts of the one run where no seed changes it), so what the arrivals
did cancels in the gain. The central line is the mean over seeds (or the whole run), joined linearly between the points
of the grid; intervals come from joint draws of that line (:mod:`ppdsim.analytical.replications`), searched like every
other simulated crossing. What lies between two points of the grid, and beyond its ends, is not known.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from ppdsim.analytical.crossing import sampled_crossing
from ppdsim.analytical.replications import differ, draws_of_mean
from ppdsim.metrics import OVERLOADED
from ppdsim.sweep.answer import SweepCrossing
from ppdsim.sweep.axes import Axis
from ppdsim.sweep.measures import MEASURES, Measure, Rows, column
from ppdsim.sweep.plan import SweepPlan
from ppdsim.sweep.replicates import replicates

DRAWS = 2_000
"""Draws of a line; the ends of a 90 % interval move by about a fiftieth of its width between two sets of them."""
SEED = 0
"""Seed of the draws, so that the same rows give the same answer."""


def crossings_of(plan: SweepPlan, rows: Rows) -> tuple[SweepCrossing, ...]:
    """Return a crossing for each numeric key, pair of values of a key of words, place of the others, and measure."""
    numbers = {point.values: number for number, point in enumerate(plan.points)}
    found: list[SweepCrossing] = []
    for along, numeric in enumerate(plan.axes):
        if numeric.numbers is None or len(numeric.values) < 2:
            continue
        for between, other in enumerate(plan.axes):
            if other.numbers is not None:
                continue
            for fixed in _fixed(plan.axes, along, between):
                for first, second in itertools.combinations(other.values, 2):
                    lines = [
                        [numbers[_place(fixed, along, value, between, choice)] for value in _rising(numeric)]
                        for choice in (first, second)
                    ]
                    for measure in MEASURES.values():
                        crossing = _crossing(plan, rows, measure, along, between, (first, second), fixed, lines)
                        if crossing is not None:
                            found.append(crossing)
    return tuple(found)


def _rising(numeric: Axis) -> list[str]:
    """Return the values of a numeric axis in rising order."""
    pairs = sorted(zip(numeric.numbers or (), numeric.values, strict=True))
    return [text for _, text in pairs]


def _fixed(axes: tuple[Axis, ...], along: int, between: int) -> Iterator[tuple[str, ...]]:
    """Yield a text for each axis, empty for the two that vary, for every place of the others."""
    return itertools.product(*(("",) if i in (along, between) else axis.values for i, axis in enumerate(axes)))


def _place(fixed: tuple[str, ...], along: int, value: str, between: int, choice: str) -> tuple[str, ...]:
    texts = list(fixed)
    texts[along], texts[between] = value, choice
    return tuple(texts)


def _crossing(
    plan: SweepPlan,
    rows: Rows,
    measure: Measure,
    along: int,
    between: int,
    pair: tuple[str, str],
    fixed: tuple[str, ...],
    lines: list[list[int]],
) -> SweepCrossing | None:
    """Return the crossing by one measure over the points that both lines have every seed of; None below two."""
    known = np.array([_is_known(plan, rows, pair_of, measure.column) for pair_of in zip(*lines, strict=True)])
    axis = np.array(sorted(plan.axes[along].numbers or ()))[known]
    if len(axis) < 2:
        return None
    numbers = np.array(lines)[:, known]
    found_here = replicates(plan, rows, numbers.ravel().tolist(), measure.column)
    sign = -1.0 if measure.higher_is_better else 1.0
    count = len(axis)
    gain = sign * (found_here.values[:, count:] - found_here.values[:, :count])
    central = sign * (found_here.whole[count:] - found_here.whole[:count])
    several = differ(gain)
    draws = draws_of_mean(gain, np.random.default_rng(SEED), DRAWS, whole=central) if several else central[None, :]
    found = sampled_crossing(axis, central, draws)
    at = zip(axis.tolist(), *(np.array(line)[known].tolist() for line in lines), strict=True)
    return SweepCrossing(
        key=plan.axes[along].key,
        between=plan.axes[between].key,
        first=pair[0],
        second=pair[1],
        fixed=tuple((each.key, text) for each, text in zip(plan.axes, fixed, strict=True) if text),
        measure=measure.column,
        low=float(axis[0]),
        high=float(axis[-1]),
        values=found.values,
        interval=found.interval if several else None,
        share_without=found.share_without if several else None,
        better_below=_better(central[0], pair),
        better_above=_better(central[-1], pair),
        overloaded=tuple(x for x, *pair_of in at if _is_overloaded(plan, rows, pair_of)),
    )


def _is_known(plan: SweepPlan, rows: Rows, numbers: Sequence[int], measure: str) -> bool:
    """Return whether points have a measure in every seed."""
    return not any(np.isnan(column(rows, number, plan.seeds, measure)).any() for number in numbers)


def _better(gain: float, pair: tuple[str, str]) -> str:
    """Return the better of two, or an empty text where they are equal."""
    return "" if gain == 0.0 else pair[0] if gain > 0.0 else pair[1]


def _is_overloaded(plan: SweepPlan, rows: Rows, numbers: list[int]) -> bool:
    return any(rows[number, seed]["label"] == OVERLOADED for number in numbers for seed in plan.seeds)
