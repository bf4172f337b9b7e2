"""``ppdsim crossover``: everything about one scenario's crossover, analytical and simulated, as one answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ppdsim import __version__, compose
from ppdsim.analytical.crossing import Found, sampled_crossing
from ppdsim.analytical.question import Question
from ppdsim.answers import ArmCurve, BreakEvenPoint, Crossing, CrossoverAnswer, Interval
from ppdsim.card import card_of
from ppdsim.crossover import analytic, words
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
    plan = make_plan(scenario, profile, middle, cloud)
    rates = {total: rates_of(plan, total) for total in plan.grid.total_tokens}
    idle = analytic.crossings(plan)
    picked = np.linspace(0, len(cloud.prefill.floor_s) - 1, plan.grid.draws).round().astype(int)  # type: ignore[arg-type]
    bench = Bench(plan, [compose.scalar(cloud, int(i)) for i in picked], np.random.default_rng(seed))
    jobs = len(plan.questions) * (len(plan.grid.total_tokens) + len(plan.grid.fixed_cached_tokens) + 1)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, jobs)

    curves: list[ArmCurve] = []
    simulated: list[Crossing] = []
    for total in plan.grid.total_tokens:
        curves.append(_append_curve(plan, bench, total, rates[total]))
        for question in plan.questions:
            curve, found = _handoff_curve(plan, bench, question, total, rates[total])
            curves.append(curve)
            simulated.append(
                analytic.crossing_of(
                    question, found, axis="r", fixed_tokens=total, source="simulated", outside=any(curve.extrapolated)
                )
            )
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
        crossings=tuple([*idle, *simulated]),
        maps=tuple(analytic.breakeven_map(plan, question) for question in plan.questions),
        sliders=tuple(
            analytic.slider_table(plan, question, total)
            for question in plan.questions
            for total in plan.grid.total_tokens
        ),
        points=tuple(points),
        differences=words.differences(_pairs(plan, idle, simulated), _mean_waits_ms(curves)),
        caveats=words.caveats(plan),
        provenance=tuple({**profile.provenance, "profile": profile.id, "ppdsim": __version__}.items()),
    )


def _settings(plan: Plan, seed: int) -> tuple[tuple[str, str], ...]:
    grid = plan.grid
    return (
        ("gamma (price of a stalled stream-second)", f"{grid.gamma:g}"),
        ("resident streams on D", f"{grid.residents} of {grid.resident_context_tokens} tokens each"),
        ("turns arrive", f"Poisson, {grid.turn_rate_per_s:g} per s, {grid.turns} of {grid.output_tokens} output tokens"),
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
    return _with_simulation(analytic.arm_curve(plan, None, total, rates), samples, plan.grid.gamma)


def _handoff_curve(
    plan: Plan, bench: Bench, question: Question, total: int, rates: tuple[float, ...]
) -> tuple[ArmCurve, Found]:
    pairs = [tokens_at(total, rate) for rate in rates]
    appends = [bench.append(*pair) for pair in pairs]
    handoffs = [bench.handoff(question, *pair) for pair in pairs]
    curve = _with_simulation(analytic.arm_curve(plan, question, total, rates), handoffs, plan.grid.gamma)
    return curve, _simulated_crossing(plan, np.array(rates), appends, handoffs)


def _simulated_crossing(
    plan: Plan, axis: np.ndarray, appends: list[Simulated], handoffs: list[Simulated]
) -> Found:
    gamma = plan.grid.gamma
    middle = np.array([p.middle.j_s(gamma) - d.middle.j_s(gamma) for p, d in zip(handoffs, appends, strict=True)])
    draws = np.array([p.j_s(gamma) - d.j_s(gamma) for p, d in zip(handoffs, appends, strict=True)]).T
    return sampled_crossing(axis, middle, draws)


def _simulated_new_tokens(
    plan: Plan, bench: Bench, question: Question, cached: int, idle: list[Crossing]
) -> Crossing:
    expected = next(
        c
        for c in idle
        if c.axis == "new_tokens"
        and c.fixed_tokens == cached
        and c.against == analytic.choice_of(question)
        and c.previous_output_tokens == question.previous_output_tokens
        and c.handoff_stall_s == plan.first_stall_s
    )
    sizes: tuple[int, ...] = FALLBACK_NEW_TOKENS
    if expected.values:
        sizes = tuple(sorted({max(1, round(share * expected.values[-1])) for share in SPREAD_NEW_TOKENS}))
    room = plan.profile.kv_pool_tokens - cached - plan.grid.residents * plan.grid.resident_context_tokens
    sizes = tuple(size for size in sizes if size + 2 * plan.grid.output_tokens < room)
    found = _simulated_crossing(
        plan,
        np.array(sizes, dtype=np.float64),
        [bench.append(cached, size) for size in sizes],
        [bench.handoff(question, cached, size) for size in sizes],
    )
    return analytic.crossing_of(
        question, found, axis="new_tokens", fixed_tokens=cached, source="simulated", outside=expected.extrapolated
    )


def _points(plan: Plan, bench: Bench, question: Question) -> list[BreakEvenPoint]:
    """Return the headline turn's N* and gamma* for every assumed S_P; the simulated ones at S_P = 0."""
    cached, new = plan.grid.headline_cached_tokens, plan.grid.headline_new_tokens
    out = []
    for stall_ms in plan.grid.handoff_stall_ms:
        point = analytic.point(plan, replace(question, handoff_stall_s=stall_ms / 1e3), cached, new)
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


def _pairs(plan: Plan, idle: list[Crossing], simulated: list[Crossing]) -> list[tuple[Crossing, Crossing]]:
    def key(c: Crossing) -> tuple[object, ...]:
        return (c.against, c.axis, c.fixed_tokens, c.previous_output_tokens)

    known = {key(c): c for c in idle if c.handoff_stall_s == plan.first_stall_s}
    return [(known[key(c)], c) for c in simulated if c.axis == "r"]


def _mean_waits_ms(curves: list[ArmCurve]) -> tuple[float, float]:
    waits = {
        flag: [w for c in curves for w in c.wait_s if (c.arm.arm == "append-d") is flag and np.isfinite(w)]
        for flag in (True, False)
    }
    return 1e3 * float(np.mean(waits[True])), 1e3 * float(np.mean(waits[False]))
