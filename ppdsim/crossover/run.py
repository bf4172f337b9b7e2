"""``ppdsim crossover``: everything about one scenario's crossover, analytical and simulated, as one answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ppdsim import __version__, compose
from ppdsim.analytical.crossing import Found, sampled_crossing
from ppdsim.analytical.question import Question
from ppdsim.answers import SIMULATED, WITH_WAITS, ArmCurve, BreakEvenPoint, Crossing, CrossoverAnswer, Interval
from ppdsim.card import card_of
from ppdsim.cost.base import Array
from ppdsim.crossover import words
from ppdsim.crossover.arms import arm_curve, choice_of
from ppdsim.crossover.breakeven import break_even_point, breakeven_map
from ppdsim.crossover.levels import crossing_of, crossings, slider_table
from ppdsim.crossover.plan import Plan, make_plan, rates_of, tokens_at
from ppdsim.crossover.simulated import Bench, Simulated
from ppdsim.profile import Profile
from ppdsim.scenario import Scenario

SPREAD_NEW_TOKENS = (0.25, 0.5, 0.75, 1.0, 1.35, 2.0, 4.0)
"""Appends that are simulated around an expected m* [share of it]."""
FALLBACK_NEW_TOKENS = (64, 256, 1024, 4096)
"""Appends that are simulated where no m* is expected [tokens]."""


def crossover(
    scenario: Scenario,
    profile: Profile,
    *,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CrossoverAnswer:
    """Answer a scenario's crossover question.

    Raises
    ------
    ScenarioError
        If the scenario has no crossover block, or a turn does not fit the KV pool.
    ProfileError
        If the profile has no hand-off for one of the arms.
    """
    middle = compose.central(profile)
    cloud = compose.cloud(profile, another_run=True)
    plan = make_plan(scenario, profile, middle, cloud, np.random.default_rng(seed))
    idle = crossings(plan)
    draws = compose.some_draws(profile, plan.grid.draws, another_run=True)
    bench = Bench(plan, draws)
    jobs = len(plan.questions) * (len(plan.grid.total_tokens) + len(plan.grid.fixed_cached_tokens) + 1)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, jobs)

    curves: list[ArmCurve] = []
    simulated: list[Crossing] = []
    for total in plan.grid.total_tokens:
        rates = {question: rates_of(plan, question, total) for question in plan.questions}
        curves.append(_append_curve(plan, bench, total, tuple(sorted(set().union(*rates.values())))))
        for question in plan.questions:
            curves.append(_handoff_curve(plan, bench, question, total, rates[question]))
            simulated.append(_simulated_rate(plan, bench, question, total, rates[question]))
            step()
    for question in plan.questions:
        for cached in plan.grid.fixed_cached_tokens:
            simulated.append(_simulated_new_tokens(plan, bench, question, cached, idle))
            step()
    points = []
    for question in plan.questions:
        points += _points(plan, bench, question)
        step()
    asked = plan.grid.previous_output_tokens[0]
    shown = [p for p in points if p.previous_output_tokens == asked and p.handoff_stall_s == plan.first_stall_s]
    return CrossoverAnswer(
        headline=words.headline(shown, plan.grid.gamma),
        scenario=scenario.name,
        question=scenario.question,
        gamma=plan.grid.gamma,
        residents=plan.grid.residents,
        resident_context_tokens=plan.grid.resident_context_tokens,
        settings=_settings(plan, seed),
        profile=card_of(profile),
        curves=tuple(curves),
        crossings=(*idle, *simulated),
        maps=tuple(breakeven_map(plan, question) for question in plan.questions),
        sliders=tuple(
            slider_table(plan, question, total) for question in plan.questions for total in plan.grid.total_tokens
        ),
        points=tuple(points),
        differences=words.differences(idle, simulated, curves, plan.grid.gamma),
        findings=words.shares_on_d(plan),
        caveats=words.caveats(plan),
        provenance=tuple({**profile.provenance, "profile": profile.id, "ppdsim": __version__}.items()),
    )


def _settings(plan: Plan, seed: int) -> tuple[tuple[str, str], ...]:
    grid = plan.grid
    return (
        ("gamma (price of a stalled stream-second)", f"{grid.gamma:g}"),
        ("resident streams on D", f"{grid.residents} of {grid.resident_context_tokens} tokens each"),
        ("turns arrive", plan.traffic.name),
        ("answers", f"{plan.traffic.mean_output_tokens:.0f} tokens on average"),
        ("cache on P", grid.prefill_cache),
        ("draws simulated", f"{grid.draws}"),
        ("seed", f"{seed}"),
    )


def _with_simulation(curve: ArmCurve, samples: list[Simulated], gamma: float) -> ArmCurve:
    draws = np.array([sample.j_s(gamma) for sample in samples])
    middle = np.array([sample.middle.j_s(gamma) for sample in samples])
    return replace(
        curve,
        simulated_ttft_s=tuple(s.middle.ttft_s for s in samples),
        simulated_tpot_s=tuple(s.middle.tpot_s for s in samples),
        simulated_e2e_s=tuple(s.middle.e2e_s for s in samples),
        simulated_kv_transfer_s=tuple(s.middle.kv_transfer_s for s in samples),
        simulated_lost_s=tuple(s.middle.lost_s for s in samples),
        simulated_j_s=tuple(middle.tolist()),
        simulated_j_low_s=tuple(np.minimum(np.quantile(draws, 0.05, axis=1), middle).tolist()),
        simulated_j_high_s=tuple(np.maximum(np.quantile(draws, 0.95, axis=1), middle).tolist()),
    )


def _append_curve(plan: Plan, bench: Bench, total: int, rates: tuple[float, ...]) -> ArmCurve:
    samples = [bench.append(*tokens_at(total, rate)) for rate in rates]
    return _with_simulation(arm_curve(plan, None, total, rates), samples, plan.grid.gamma)


def _handoff_curve(plan: Plan, bench: Bench, question: Question, total: int, rates: tuple[float, ...]) -> ArmCurve:
    samples = [bench.handoff(question, *tokens_at(total, rate)) for rate in rates]
    return _with_simulation(arm_curve(plan, question, total, rates), samples, plan.grid.gamma)


def _simulated_rate(plan: Plan, bench: Bench, question: Question, total: int, rates: tuple[float, ...]) -> Crossing:
    found = _simulated_crossing(plan, bench, question, np.array(rates), [tokens_at(total, rate) for rate in rates])
    return crossing_of(plan, question, found, axis="r", fixed_tokens=total, source=SIMULATED)


def _simulated_crossing(
    plan: Plan, bench: Bench, question: Question, axis: Array, pairs: Sequence[tuple[int, int]]
) -> Found:
    gamma = plan.grid.gamma
    appends = [bench.append(*pair) for pair in pairs]
    handoffs = [bench.handoff(question, *pair) for pair in pairs]
    middle = np.array([p.middle.j_s(gamma) - d.middle.j_s(gamma) for p, d in zip(handoffs, appends, strict=True)])
    draws = np.array([p.j_s(gamma) - d.j_s(gamma) for p, d in zip(handoffs, appends, strict=True)]).T
    return sampled_crossing(axis, middle, draws)


def _simulated_new_tokens(plan: Plan, bench: Bench, question: Question, cached: int, idle: list[Crossing]) -> Crossing:
    """Return m* at a fixed prefix, looked for around the one that the formula with waits expects."""
    expected = next(
        c
        for c in idle
        if (c.source, c.axis, c.fixed_tokens) == (WITH_WAITS, "new_tokens", cached)
        and c.against == choice_of(question)
        and c.previous_output_tokens == question.previous_output_tokens
    )
    sizes: tuple[int, ...] = FALLBACK_NEW_TOKENS
    if expected.values:
        sizes = tuple(sorted({max(1, round(share * expected.values[-1])) for share in SPREAD_NEW_TOKENS}))
    room = plan.profile.kv_pool_tokens - cached - plan.grid.residents * plan.grid.resident_context_tokens
    sizes = tuple(size for size in sizes if size + 2 * max(plan.traffic.output_tokens) < room)
    found = _simulated_crossing(
        plan, bench, question, np.array(sizes, dtype=np.float64), [(cached, size) for size in sizes]
    )
    return crossing_of(plan, question, found, axis="new_tokens", fixed_tokens=cached, source=SIMULATED)


def _points(plan: Plan, bench: Bench, question: Question) -> list[BreakEvenPoint]:
    """Return the headline turn's N* and gamma* for every assumed S_P; the simulated ones at S_P = 0."""
    cached, new = plan.headline_tokens
    out = []
    for stall_ms in plan.grid.handoff_stall_ms:
        point = break_even_point(plan, replace(question, handoff_stall_s=stall_ms / 1e3), cached, new)
        if stall_ms == 0.0 and plan.grid.residents:
            append, handoff = bench.append(cached, new), bench.handoff(question, cached, new)
            gain = handoff.middle.ttft_s - append.middle.ttft_s
            gains = handoff.ttft_s - append.ttft_s
            price = _ratio(gain, append.middle.lost_s - handoff.middle.lost_s)
            prices = np.array([_ratio(g, x) for g, x in zip(gains, append.lost_s - handoff.lost_s, strict=True)])
            low, high = (float(np.quantile(prices, q, method="nearest")) for q in (0.05, 0.95))
            gamma = Interval(value=price, low=min(low, price), high=max(high, price))
            streams = plan.grid.residents / (plan.grid.gamma or 1.0)
            point = replace(
                point,
                simulated_gamma_star=gamma,
                simulated_n_star=Interval(
                    value=gamma.value * streams, low=gamma.low * streams, high=gamma.high * streams
                ),
            )
        out.append(point)
    return out


def _ratio(gain_s: float, lost_s: float) -> float:
    if lost_s <= 0.0:
        return float("inf") if gain_s >= 0.0 else 0.0
    return max(gain_s / lost_s, 0.0)
