"""The simulated answer: the same curves, crossings and points, each from turns that were played on loaded machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.analytical.crossing import CrossingResult, sampled_crossing
from ppdsim.answers import (
    SIMULATED,
    WITH_WAITS,
    ArmCurve,
    BreakEvenPoint,
    Crossing,
    CrossoverAnswer,
)
from ppdsim.cost.base import Array
from ppdsim.crossover.arms import choice_of
from ppdsim.crossover.breakeven import host_interval
from ppdsim.crossover.differences import crossing_differences, point_differences
from ppdsim.crossover.levels import crossing_of
from ppdsim.crossover.overload import overloaded
from ppdsim.crossover.pair_simulator import PairSimulator, Simulated
from ppdsim.crossover.plan import Plan
from ppdsim.metrics import OVERLOADED, interval_90

SPREAD_NEW_TOKENS = (0.25, 0.5, 0.75, 1.0, 1.35, 2.0, 4.0)
"""Appends that are simulated around an expected m* [share of it]."""
FALLBACK_NEW_TOKENS = (64, 256, 1024, 4096)
"""Appends that are simulated where no m* is expected [tokens]."""


def simulated(
    plan: Plan, simulator: PairSimulator, answer: CrossoverAnswer, progress: Callable[[int, int], None]
) -> CrossoverAnswer:
    """Return the formulas' answer with everything simulated beside it."""
    comparisons = {(choice_of(q), q.previous_output_tokens): q for q in plan.comparisons}
    jobs = len(answer.curves) + len(comparisons) * len(plan.grid.fixed_cached_tokens) + len(answer.points)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, jobs)

    curves: list[ArmCurve] = []
    found: list[tuple[ArmComparison, Crossing]] = []
    for curve in answer.curves:
        comparison = comparisons.get((curve.arm, curve.previous_output_tokens))
        pairs = list(zip(curve.cached_tokens, curve.new_tokens, strict=True))
        samples = [simulator.append(*p) if comparison is None else simulator.handoff(comparison, *p) for p in pairs]
        curves.append(_with_simulation(curve, samples, plan.grid.gamma))
        if comparison is not None:
            crossing = _crossing(plan, simulator, comparison, np.array(curve.cache_rate), pairs)
            at = crossing_of(plan, comparison, crossing, axis="r", fixed_tokens=curve.total_tokens, source=SIMULATED)
            found.append((comparison, at))
        step()
    for comparison in plan.comparisons:
        for cached in plan.grid.fixed_cached_tokens:
            found.append((comparison, _new_tokens(plan, simulator, comparison, cached, answer.crossings)))
            step()
    points: list[BreakEvenPoint] = []
    for point in answer.points:
        points.append(_point(plan, simulator, comparisons[point.against, point.previous_output_tokens], point))
        step()
    return replace(
        answer,
        curves=tuple(curves),
        crossings=(*answer.crossings, *(crossing for _, crossing in found)),
        points=tuple(points),
        overloaded=overloaded(plan, curves),
        differences=(
            *point_differences(points),
            *crossing_differences(plan, simulator, answer.crossings, found),
        ),
    )


def _with_simulation(curve: ArmCurve, samples: list[Simulated], gamma: float) -> ArmCurve:
    draws = np.array([sample.j_s(gamma) for sample in samples])
    central = np.array([sample.central.j_s(gamma) for sample in samples])
    low, high = interval_90(draws, axis=1)
    return replace(
        curve,
        simulated_label=tuple(s.central.label for s in samples),
        simulated_ttft_s=tuple(s.central.ttft_s for s in samples),
        simulated_tpot_s=tuple(s.central.tpot_s for s in samples),
        simulated_e2e_s=tuple(s.central.e2e_s for s in samples),
        simulated_kv_transfer_s=tuple(s.central.kv_transfer_s for s in samples),
        simulated_lost_s=tuple(s.central.lost_s for s in samples),
        simulated_j_s=tuple(central.tolist()),
        simulated_j_low_s=tuple(low.tolist()),
        simulated_j_high_s=tuple(high.tolist()),
    )


def _crossing(
    plan: Plan, simulator: PairSimulator, comparison: ArmComparison, axis: Array, pairs: Sequence[tuple[int, int]]
) -> CrossingResult:
    gamma = plan.grid.gamma
    appends = [simulator.append(*pair) for pair in pairs]
    handoffs = [simulator.handoff(comparison, *pair) for pair in pairs]
    on_p, on_d = (np.array([s.central.j_s(gamma) for s in side]) for side in (handoffs, appends))
    # Of an arm that is overloaded there is no J; the gain says which one it is.
    only_d, only_p = np.isnan(on_p) & ~np.isnan(on_d), np.isnan(on_d) & ~np.isnan(on_p)
    central = np.where(only_d, np.inf, np.where(only_p, -np.inf, on_p - on_d))
    draws = [p.j_s(gamma) - d.j_s(gamma) for p, d in zip(handoffs, appends, strict=True)]
    return sampled_crossing(axis, central, np.array(draws).T if draws else np.empty((0, 0)))


def _new_tokens(
    plan: Plan, simulator: PairSimulator, comparison: ArmComparison, cached: int, formulas: Sequence[Crossing]
) -> Crossing:
    """Return m* at a fixed prefix, looked for around the one that the formula with waits expects."""
    expected = next(
        c
        for c in formulas
        if (c.source, c.axis, c.fixed_tokens) == (WITH_WAITS, "new_tokens", cached)
        and c.against == choice_of(comparison)
        and c.previous_output_tokens == comparison.previous_output_tokens
    )
    sizes: tuple[int, ...] = FALLBACK_NEW_TOKENS
    if expected.values:
        sizes = tuple(sorted({max(1, round(share * expected.values[-1])) for share in SPREAD_NEW_TOKENS}))
    room = plan.on_d.kv_pool_tokens - cached - plan.grid.residents * plan.grid.resident_context_tokens
    sizes = tuple(size for size in sizes if size + 2 * max(plan.traffic.output_tokens) < room)
    found = _crossing(
        plan, simulator, comparison, np.array(sizes, dtype=np.float64), [(cached, size) for size in sizes]
    )
    return crossing_of(plan, comparison, found, axis="new_tokens", fixed_tokens=cached, source=SIMULATED)


def _point(plan: Plan, simulator: PairSimulator, comparison: ArmComparison, point: BreakEvenPoint) -> BreakEvenPoint:
    """Return the point with the simulated N* and gamma*, which need residents and know S_P = 0 only."""
    if point.handoff_stall_s != 0.0 or not plan.grid.residents:
        return point
    append = simulator.append(point.cached_tokens, point.new_tokens)
    handoff = simulator.handoff(comparison, point.cached_tokens, point.new_tokens)
    if OVERLOADED in (append.central.label, handoff.central.label):
        return point
    price = _ratio(handoff.central.ttft_s - append.central.ttft_s, append.central.lost_s - handoff.central.lost_s)
    gains, losses = handoff.ttft_s - append.ttft_s, append.lost_s - handoff.lost_s
    prices = [_ratio(gain, loss) for gain, loss in zip(gains, losses, strict=True)]
    n = plan.grid.residents
    return replace(
        point,
        simulated_gamma_star=host_interval(price, prices),
        simulated_n_star=host_interval(price * n, [each * n for each in prices]),
    )


def _ratio(gain_s: float, lost_s: float) -> float:
    if lost_s <= 0.0:
        return float("inf") if gain_s >= 0.0 else 0.0
    return max(gain_s / lost_s, 0.0)
