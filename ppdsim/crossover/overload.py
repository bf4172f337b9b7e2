"""What the traffic overloads: each prompt length and arm, and what would carry it.

A crossover asks about one size of turn at a time, at the rate at which the workload's turns arrive. Where most of them
are shorter than the size that is asked about, that rate may be more than a server can do; such an arm is OVERLOADED:
its waits have no end, and it has no J. The rate is not scaled to the size (``workload.rate_scale`` is for that).

By the formula a server is overloaded if ``rate x service >= 1``; of a simulated run `load_label` says it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ppdsim.answers import ArmCurve
from ppdsim.crossover.arms import choice_of
from ppdsim.crossover.plan import Plan
from ppdsim.crossover.waits import services
from ppdsim.metrics import OVERLOADED


def overloaded(plan: Plan, curves: Sequence[ArmCurve]) -> tuple[str, ...]:
    """Return a sentence for every prompt length and arm of `curves` that is overloaded at some cache rate."""
    return tuple(text for curve in curves for text in _of_curve(plan, curve))


def _of_curve(plan: Plan, curve: ArmCurve) -> Iterator[str]:
    waits = np.isinf(curve.wait_s)
    played = np.array([label == OVERLOADED for label in curve.simulated_label] or [False] * len(waits))
    if not (waits | played).any():
        return
    name = f"{curve.arm.label}, prompt of {curve.total_tokens:,} tokens"
    if curve.arm != choice_of(None):
        name += f", previous answer of {curve.previous_output_tokens}"
    said = {"by the formula": waits}
    if curve.simulated_label:
        said["simulated"] = played
    where = " and ".join(f"{_share(found)} cache rates {who}" for who, found in said.items() if found.any())
    yield (
        f"{OVERLOADED} at {plan.traffic.rate_per_s:.3g} turns a second: {name}, at {where}. By the formula this arm "
        f"carries less than {_carried(plan, curve)}."
    )


def _share(found: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> str:
    return "all" if found.all() else f"{int(found.sum())} of {len(found)}"


def _carried(plan: Plan, curve: ArmCurve) -> str:
    """Return the rates below which the formula's servers keep up with the arm, over the cache rates of its curve."""
    comparison = next(
        (
            q
            for q in plan.comparisons
            if choice_of(q) == curve.arm and q.previous_output_tokens == curve.previous_output_tokens
        ),
        None,
    )
    tokens = (np.array(column, dtype=np.float64) for column in (curve.cached_tokens, curve.new_tokens))
    busy = services(plan.grid, plan.central, comparison or plan.comparisons[0], *tokens)
    rates = busy.append_per_s if comparison is None else busy.handoff_per_s
    low, high = float(rates.min()), float(rates.max())
    return f"{low:.3g} a second" if np.isclose(low, high) else f"{low:.3g} to {high:.3g} a second, by cache rate"
