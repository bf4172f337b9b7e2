"""Where the simulated and the analytical answers differ by more than the interval: by how much, and why.

The why is the difference of the two accounts of J at the simulated turn nearest to the crossing: what each arm waited,
and what it cost the others, in the simulation and in the formula with waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ppdsim.analytical.arm_comparison import ArmComparison, cached_on_p
from ppdsim.answers import WITH_WAITS, BreakEvenPoint, Crossing, HostInterval
from ppdsim.crossover.pair_simulator import PairSimulator, Sample
from ppdsim.crossover.plan import Plan, tokens_at
from ppdsim.metrics import OVERLOADED
from ppdsim.types import Arm, Transport
from ppdsim.units import MS_PER_S

CLOSE_RATE = 0.005
"""Difference of two cache rates that is not worth a sentence [1]; the simulated grid is no finer."""
CLOSE_SHARE = 0.05
"""Difference of two append lengths that is not worth a sentence [share]; likewise."""


def crossing_differences(
    plan: Plan,
    simulator: PairSimulator,
    formulas: Iterable[Crossing],
    simulated: Sequence[tuple[ArmComparison, Crossing]],
) -> tuple[str, ...]:
    """Return a sentence for every simulated r* and m* outside the interval of the formula with waits."""
    with_waits = {_key(c): c for c in formulas if c.source == WITH_WAITS}
    out: list[str] = []
    for comparison, found in simulated:
        formula = with_waits[_key(found)]
        gap = _gap(formula, found)
        if gap is not None:
            at = next(iter([*found.values[-1:], *formula.values[-1:]]), None)
            why = _explanation(plan, simulator, comparison, _nearest(simulator, comparison, found, at))
            out.append(f"{_place_of(found)}: {gap}.{why}")
    return tuple(out)


def point_differences(points: Iterable[BreakEvenPoint]) -> tuple[str, ...]:
    """Return a sentence for every simulated N* outside the formula's interval."""
    return tuple(
        f"{p.against.label}, {p.new_tokens} new tokens on {p.cached_tokens}, previous answer of "
        f"{p.previous_output_tokens}: the simulated N* is {p.simulated_n_star.this_host:.1f}, the formula's "
        f"{p.n_star.this_host:.1f}. The simulated N* is gamma* times the number of simulated residents, so it keeps "
        "the stall of that batch. The formula counts that a larger batch has a longer step, which hides more of the "
        "launch; it leaves out the waits."
        for p in points
        if p.simulated_n_star is not None and not _is_near(p.n_star, p.simulated_n_star.this_host)
    )


def _is_near(formula: HostInterval, simulated: float) -> bool:
    """Return whether a simulated number is between the formula's on this host and its ends on another one, or close."""
    ends = [formula.this_host, *(end for end in (formula.low, formula.high) if end is not None)]
    return min(ends) * (1 - CLOSE_SHARE) <= simulated <= max(ends) * (1 + CLOSE_SHARE)


def _key(crossing: Crossing) -> tuple[object, ...]:
    return (crossing.against, crossing.axis, crossing.fixed_tokens, crossing.previous_output_tokens)


def _place_of(found: Crossing) -> str:
    fixed = "prompt" if found.axis == "r" else "prefix"
    return (
        f"{found.against.label}, {fixed} of {found.fixed_tokens} tokens, "
        f"previous answer of {found.previous_output_tokens}"
    )


def _gap(formula: Crossing, found: Crossing) -> str | None:
    name, digits = ("r*", 3) if found.axis == "r" else ("m*", 0)
    if not formula.values or not found.values:
        if formula.kind is found.kind:
            return None
        return (
            f"the formula with waits says {_word(formula, name, digits)}, the simulation {_word(found, name, digits)}"
        )
    last = formula.values[-1]
    ends = [last] if formula.interval is None else [last, formula.interval.low, formula.interval.high]
    low, high = min(ends), max(ends)
    slack = CLOSE_RATE if found.axis == "r" else CLOSE_SHARE * last
    if low - slack <= found.values[-1] <= high + slack:
        return None
    return f"the simulation puts {name} at {found.values[-1]:.{digits}f}, the formula with waits at {last:.{digits}f}"


def _word(crossing: Crossing, name: str, digits: int) -> str:
    return f"{name} = {crossing.values[-1]:.{digits}f}" if crossing.values else crossing.kind.value


def _nearest(
    simulator: PairSimulator, comparison: ArmComparison, found: Crossing, at: float | None
) -> tuple[int, int] | None:
    """Return the (cached, new) nearest to a crossing at which both arms were carried; None if there is none."""
    if at is None:
        return None
    if found.axis == "r":
        wanted = tokens_at(found.fixed_tokens, at)
        same = [pair for pair in simulator.pairs(comparison) if sum(pair) == found.fixed_tokens]
    else:
        wanted = (found.fixed_tokens, round(at))
        same = [pair for pair in simulator.pairs(comparison) if pair[0] == found.fixed_tokens]
    carried = [
        pair
        for pair in same
        if OVERLOADED not in (simulator.append(*pair).central.label, simulator.handoff(comparison, *pair).central.label)
    ]
    return min(carried, key=lambda pair: abs(pair[1] - wanted[1]), default=None)


def _explanation(plan: Plan, simulator: PairSimulator, comparison: ArmComparison, pair: tuple[int, int] | None) -> str:
    if pair is None:
        return ""
    cached, new = (np.array([float(tokens)]) for tokens in pair)
    loaded = plan.loaded(comparison, cached, new)
    on_p = cached_on_p(comparison, cached, plan.central.on_p.page_size_tokens)
    rows = (
        ("append", Arm.APPEND_D, Transport.NONE, simulator.append(*pair).central, loaded.wait_d_s),
        (
            "hand-off",
            comparison.arm,
            comparison.transport,
            simulator.handoff(comparison, *pair).central,
            loaded.wait_p_s,
        ),
    )
    parts = []
    for name, arm, transport, sample, wait in rows:
        idle_s = float(np.asarray(plan.central.ttft_s(arm, transport, cached, new, on_p))[0])
        streams = plan.grid.residents + loaded.decoding_turns
        context = plan.grid.resident_context_tokens
        stall = np.asarray(plan.central.stall_s(arm, cached, new, float(plan.grid.residents), context))
        parts.append(_account(name, sample, idle_s, float(np.asarray(wait)[0]), streams * float(stall.ravel()[0])))
    return f" With {pair[1]} new tokens on {pair[0]}, in the simulation {'; '.join(parts)}."


def _account(name: str, sample: Sample, idle_s: float, wait_s: float, lost_s: float) -> str:
    return (
        f"the {name} waits {(sample.ttft_s - idle_s) * MS_PER_S:.0f} ms (formula: {wait_s * MS_PER_S:.0f}) "
        f"and delays the other streams by {sample.lost_s * MS_PER_S:.0f} stream-ms (formula: {lost_s * MS_PER_S:.0f})"
    )
