"""The analytical side of the answer: curves with bands, crossings, break-even maps, slider tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ppdsim import compose
from ppdsim.analytical.breakeven import Case, break_even, break_even_price, break_even_streams
from ppdsim.analytical.crossing import Found, cache_rate_crossing, cache_rate_table, new_tokens_crossing
from ppdsim.analytical.question import Question, cached_on_p
from ppdsim.answers import (
    ArmChoice,
    ArmCurve,
    BreakevenMap,
    BreakEvenPoint,
    Crossing,
    Interval,
    SliderTable,
)
from ppdsim.cost.base import Array
from ppdsim.crossover.plan import Plan, tokens_at
from ppdsim.points import Point
from ppdsim.predict import extrapolated
from ppdsim.types import Arm, Transport

SLIDER_GAMMAS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Prices that the report's slider offers [1]."""
SLIDER_RESIDENTS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
"""Batches that the report's slider offers [streams]."""
MAP_CACHED_TOKENS = (0, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536)
MAP_NEW_TOKENS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16_384)
"""Where the map of N* is drawn [tokens]; the last of each lies outside the first grid and is drawn as extrapolated."""


def choice_of(question: Question | None) -> ArmChoice:
    """Return the arm's name; None is the append on D."""
    if question is None:
        return ArmChoice(arm=Arm.APPEND_D.value, transport=Transport.NONE.value)
    return ArmChoice(arm=question.arm.value, transport=question.transport.value)


def is_extrapolated(plan: Plan, question: Question | None, cached_tokens: float, new_tokens: float) -> bool:
    """Return whether an arm's cost at (cached, new) rests on anything outside the measured domain."""
    on_p = None
    if question is not None:
        on_p = float(np.asarray(cached_on_p(question, cached_tokens, plan.middle.page_size_tokens)))
    arms = [(Arm.APPEND_D, Transport.NONE, None)]
    if question is not None:
        arms.append((question.arm, question.transport, on_p))  # type: ignore[arg-type]
    return any(
        extrapolated(
            plan.profile,
            Point(
                kind="prefill",
                arm=arm,
                transport=transport,
                cached_tokens=cached_tokens,
                new_tokens=new_tokens,
                batch=0.0,
                context_tokens=0.0,
                prefill_cached_tokens=cached,
                source={},
            ),
        )
        for arm, transport, cached in arms
    )


def _interval(value: float, samples: Array) -> Interval:
    finite = samples[np.isfinite(samples)]
    if not len(finite):
        return Interval(value=value, low=value, high=value)
    # An infinite draw (D wins at any batch) is above every finite one, so it may be the upper end.
    low, high = (float(np.quantile(samples, q, method="nearest")) for q in (0.05, 0.95))
    return Interval(value=value, low=min(low, value), high=max(high, value))


def arm_curve(plan: Plan, question: Question | None, total_tokens: int, rates: Sequence[float]) -> ArmCurve:
    """Return one arm over the cache rate at a fixed prompt: idle TTFT and stall with bands, waits, J.

    The append (question None) is the same whatever the P arm; its wait is that of the append in front of D.
    """
    pairs = [tokens_at(total_tokens, rate) for rate in rates]
    cached = np.array([pair[0] for pair in pairs], dtype=np.float64)
    new = np.array([pair[1] for pair in pairs], dtype=np.float64)
    asked = question or plan.questions[0]
    arm = Arm.APPEND_D if question is None else question.arm
    transport = Transport.NONE if question is None else question.transport
    residents = float(plan.grid.residents)
    on_p = cached_on_p(asked, cached, plan.middle.page_size_tokens)
    ttft = np.asarray(plan.middle.ttft_s(arm, transport, cached, new, on_p))
    samples = np.asarray(plan.cloud.ttft_s(arm, transport, cached, new, on_p))
    band = compose.band(samples, compose.misfit_of(plan.profile, "prefill", arm, transport))
    stall = _stall(plan, arm, cached, new, central=True)
    stalls = _stall(plan, arm, cached, new, central=False)
    waits = [plan.waiting(asked, float(c), float(m)) for c, m in zip(cached, new, strict=True)]
    wait = np.array([w.wait_d_s if question is None else w.wait_p_s for w in waits])
    j = ttft + wait + plan.grid.gamma * residents * stall
    return ArmCurve(
        arm=choice_of(question),
        total_tokens=total_tokens,
        previous_output_tokens=0 if question is None else question.previous_output_tokens,
        prefill_cache=plan.grid.prefill_cache,
        cache_rate=tuple(c / total_tokens for c in cached.tolist()),
        cached_tokens=tuple(int(c) for c in cached),
        new_tokens=tuple(int(m) for m in new),
        extrapolated=tuple(is_extrapolated(plan, question, float(c), float(m)) for c, m in pairs),
        ttft_s=tuple(ttft.tolist()),
        ttft_low_s=tuple(np.minimum(band.low, ttft).tolist()),
        ttft_high_s=tuple(np.maximum(band.high, ttft).tolist()),
        stall_s=tuple(stall.tolist()),
        stall_low_s=tuple(np.minimum(np.quantile(stalls, 0.05, axis=0), stall).tolist()),
        stall_high_s=tuple(np.maximum(np.quantile(stalls, 0.95, axis=0), stall).tolist()),
        wait_s=tuple(wait.tolist()),
        j_s=tuple(j.tolist()),
    )


def _stall(plan: Plan, arm: Arm, cached: Array, new: Array, *, central: bool) -> Array:
    model = plan.middle if central else plan.cloud
    found = model.stall_s(arm, cached, new, float(plan.grid.residents), plan.grid.resident_context_tokens)
    return np.broadcast_to(np.asarray(found), cached.shape if central else (len(model.prefill.floor_s), len(cached)))


def crossing_of(
    question: Question, found: Found, *, axis: str, fixed_tokens: int, source: str, outside: bool
) -> Crossing:
    """Return a search's result with the question it answers."""
    return Crossing(
        against=choice_of(question),
        axis=axis,
        fixed_tokens=fixed_tokens,
        previous_output_tokens=question.previous_output_tokens,
        prefill_cache="cold" if question.cold else "warm",
        gamma=question.gamma,
        residents=question.residents,
        handoff_stall_s=question.handoff_stall_s,
        kind=found.kind,
        values=found.values,
        interval=found.interval,
        share_without=found.share_without,
        extrapolated=outside,
        source=source,
    )


def crossings(plan: Plan) -> list[Crossing]:
    """Return r* at every prompt length and m* at every fixed prefix, idle machines, for every assumed S_P."""
    out: list[Crossing] = []
    for base in plan.questions:
        for stall_ms in plan.grid.handoff_stall_ms:
            question = replace(base, handoff_stall_s=stall_ms / 1e3)
            for total in plan.grid.total_tokens:
                found = cache_rate_crossing(plan.middle, plan.cloud, question, total)
                at = tokens_at(total, found.values[-1]) if found.values else (total - 1, 1)
                outside = bool(found.values) and is_extrapolated(plan, question, float(at[0]), float(at[1]))
                out.append(
                    crossing_of(question, found, axis="r", fixed_tokens=total, source="analytical", outside=outside)
                )
            for cached in plan.grid.fixed_cached_tokens:
                found = new_tokens_crossing(plan.middle, plan.cloud, question, cached)
                outside = bool(found.values) and is_extrapolated(plan, question, float(cached), found.values[-1])
                out.append(
                    crossing_of(
                        question, found, axis="new_tokens", fixed_tokens=cached, source="analytical", outside=outside
                    )
                )
    return out


def point(plan: Plan, question: Question, cached_tokens: int, new_tokens: int) -> BreakEvenPoint:
    """Return N* and gamma* of one turn, idle machines."""
    found = break_even(plan.middle, question, float(cached_tokens), float(new_tokens))
    cached, new = np.array([float(cached_tokens)]), np.array([float(new_tokens)])
    streams = break_even_streams(plan.cloud, question, cached, new)[:, 0]
    price = float(np.asarray(break_even_price(plan.middle, question, cached, new))[0])
    prices = np.asarray(break_even_price(plan.cloud, question, cached, new))[:, 0]
    n_star = _interval(found.streams, streams)
    if found.case is Case.ABOVE:
        n_star = Interval(value=found.streams, low=found.streams, high=found.streams)
    return BreakEvenPoint(
        against=choice_of(question),
        cached_tokens=cached_tokens,
        new_tokens=new_tokens,
        previous_output_tokens=question.previous_output_tokens,
        prefill_cache="cold" if question.cold else "warm",
        handoff_stall_s=question.handoff_stall_s,
        case=found.case.value,
        n_star=n_star,
        gamma_star=_interval(price, prices),
        simulated_n_star=None,
        simulated_gamma_star=None,
        extrapolated=is_extrapolated(plan, question, float(cached_tokens), float(new_tokens)),
    )


def breakeven_map(plan: Plan, question: Question) -> BreakevenMap:
    """Return N* over (cached_tokens, new_tokens)."""
    cached, new = np.meshgrid(MAP_CACHED_TOKENS, MAP_NEW_TOKENS, indexing="ij")
    flat = cached.ravel().astype(np.float64), new.ravel().astype(np.float64)
    middle = break_even_streams(plan.middle, question, *flat).reshape(cached.shape)
    samples = break_even_streams(plan.cloud, question, *flat)
    low, high = (
        np.quantile(samples, q, axis=0, method="nearest").reshape(cached.shape) for q in (0.05, 0.95)
    )

    def rows(matrix: Array) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(float(x) for x in row) for row in matrix)

    return BreakevenMap(
        against=choice_of(question),
        previous_output_tokens=question.previous_output_tokens,
        prefill_cache="cold" if question.cold else "warm",
        cached_tokens=MAP_CACHED_TOKENS,
        new_tokens=MAP_NEW_TOKENS,
        n_star=rows(middle),
        n_star_low=rows(np.minimum(low, middle)),
        n_star_high=rows(np.maximum(high, middle)),
        extrapolated=tuple(
            tuple(is_extrapolated(plan, question, float(c), float(m)) for m in MAP_NEW_TOKENS)
            for c in MAP_CACHED_TOKENS
        ),
    )


def slider_table(plan: Plan, question: Question, total_tokens: int) -> SliderTable:
    """Return r* for every price and batch that the report's sliders offer, the scenario's own among them."""
    gammas = tuple(sorted({*SLIDER_GAMMAS, question.gamma}))
    residents = tuple(sorted({*SLIDER_RESIDENTS, question.residents}))
    table = cache_rate_table(plan.middle, plan.cloud, question, total_tokens, gammas, residents)

    def part(name: str) -> tuple[tuple[float | None, ...], ...]:
        return tuple(
            tuple(None if found.interval is None else float(getattr(found.interval, name)) for found in row)
            for row in table
        )

    return SliderTable(
        against=choice_of(question),
        total_tokens=total_tokens,
        previous_output_tokens=question.previous_output_tokens,
        gammas=gammas,
        residents=residents,
        r_star=part("value"),
        r_star_low=part("low"),
        r_star_high=part("high"),
        kind=tuple(tuple(found.kind.value for found in row) for row in table),
    )
