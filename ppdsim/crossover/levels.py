"""The level lines of the answer: r* at fixed prompts, m* at fixed prefixes, and r* at every place of the sliders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.analytical.crossing import (
    CrossingResult,
    Load,
    cache_rate_crossing,
    cache_rate_table,
    idle,
    new_tokens_crossing,
)
from ppdsim.answers import ANALYTICAL, WITH_WAITS, Crossing, SliderTable
from ppdsim.crossover.arms import choice_of, is_extrapolated
from ppdsim.crossover.plan import Plan, tokens_at
from ppdsim.units import MS_PER_S


def crossings(plan: Plan) -> list[Crossing]:
    """Return r* at every prompt length and m* at every fixed prefix: idle for every assumed S_P, then with waits."""
    out: list[Crossing] = []
    for base in plan.comparisons:
        for stall_ms in plan.grid.handoff_stall_ms:
            comparison = replace(base, handoff_stall_s=stall_ms / MS_PER_S)
            out += _of_question(plan, comparison, idle, ANALYTICAL)
        out += _of_question(plan, replace(base, handoff_stall_s=plan.first_stall_s), plan.loaded, WITH_WAITS)
    return out


def _of_question(plan: Plan, comparison: ArmComparison, load: Load, source: str) -> Iterator[Crossing]:
    for total in plan.grid.total_tokens:
        found = cache_rate_crossing(plan.central, plan.samples, comparison, total, load=load)
        yield crossing_of(plan, comparison, found, axis="r", fixed_tokens=total, source=source)
    for cached in plan.grid.fixed_cached_tokens:
        found = new_tokens_crossing(plan.central, plan.samples, comparison, cached, load=load)
        yield crossing_of(plan, comparison, found, axis="new_tokens", fixed_tokens=cached, source=source)


def crossing_of(
    plan: Plan, comparison: ArmComparison, found: CrossingResult, *, axis: str, fixed_tokens: int, source: str
) -> Crossing:
    """Return a search's result with its comparison; extrapolated where its last crossing, or a curve under it, is."""
    on_p, on_d = plan.on_p.profile, plan.on_d.profile
    curves = (on_d.curve("prefill"), on_p.curve("prefill"), on_p.curve("handoff", comparison.arm, comparison.transport))
    outside = any(record.tag.unmeasured for record in curves) or plan.scenario.link_bytes_per_s is not None
    if found.values:
        last = found.values[-1]
        at = tokens_at(fixed_tokens, last) if axis == "r" else (fixed_tokens, last)
        outside = is_extrapolated(plan, comparison, float(at[0]), float(at[1]))
    return Crossing(
        against=choice_of(comparison),
        axis=axis,
        fixed_tokens=fixed_tokens,
        previous_output_tokens=comparison.previous_output_tokens,
        prefill_cache="cold" if comparison.cold else "warm",
        gamma=comparison.gamma,
        residents=comparison.residents,
        handoff_stall_s=comparison.handoff_stall_s,
        kind=found.kind,
        values=found.values,
        interval=found.interval,
        share_without=found.share_without,
        share_carried=found.share_carried,
        extrapolated=outside,
        source=source,
    )


def slider_table(plan: Plan, comparison: ArmComparison, total_tokens: int) -> SliderTable:
    """Return r* for every price and batch that the report's sliders offer, the scenario's own among them."""
    gammas, residents = plan.slider_gammas, plan.slider_residents
    table = cache_rate_table(plan.central, plan.samples, comparison, total_tokens, gammas, residents)

    def end(name: str) -> tuple[tuple[float | None, ...], ...]:
        return tuple(
            tuple(None if found.interval is None else float(getattr(found.interval, name)) for found in row)
            for row in table
        )

    return SliderTable(
        against=choice_of(comparison),
        total_tokens=total_tokens,
        previous_output_tokens=comparison.previous_output_tokens,
        gammas=gammas,
        residents=residents,
        r_star=tuple(tuple(found.values[-1] if found.values else None for found in row) for row in table),
        r_star_median=end("value"),
        r_star_low=end("low"),
        r_star_high=end("high"),
        kind=tuple(tuple(found.kind.value for found in row) for row in table),
    )
