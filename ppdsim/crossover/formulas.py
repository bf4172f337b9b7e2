"""The analytical answer: everything that needs no simulation, ready in seconds."""

from __future__ import annotations

from dataclasses import replace

from ppdsim import __version__
from ppdsim.answers import ArmCurve, CrossoverAnswer
from ppdsim.card import card_of
from ppdsim.crossover import words
from ppdsim.crossover.arms import arm_curve
from ppdsim.crossover.breakeven import break_even_point, breakeven_map
from ppdsim.crossover.levels import crossings, slider_table
from ppdsim.crossover.overload import overloaded
from ppdsim.crossover.plan import Plan, rates_of
from ppdsim.crossover.rule import rule_findings
from ppdsim.units import MS_PER_S


def formulas(plan: Plan, *, seed: int) -> CrossoverAnswer:
    """Return the answer of the formulas: curves, crossings idle and with waits, maps, N* and gamma*."""
    cached, new = plan.headline_tokens
    points = [
        break_even_point(plan, replace(comparison, handoff_stall_s=stall_ms / MS_PER_S), cached, new)
        for comparison in plan.comparisons
        for stall_ms in plan.grid.handoff_stall_ms
    ]
    curves = tuple(curve for total in plan.grid.total_tokens for curve in _curves(plan, total))
    asked = plan.grid.previous_output_tokens[0]
    shown = [p for p in points if p.previous_output_tokens == asked and p.handoff_stall_s == plan.first_stall_s]
    return CrossoverAnswer(
        headline=words.headline(shown, plan.grid.gamma),
        scenario=plan.scenario.name,
        question=plan.scenario.question,
        gamma=plan.grid.gamma,
        residents=plan.grid.residents,
        resident_context_tokens=plan.grid.resident_context_tokens,
        settings=_settings(plan, seed),
        profile=card_of(plan.on_d.profile),
        curves=curves,
        crossings=tuple(crossings(plan)),
        maps=tuple(breakeven_map(plan, comparison) for comparison in plan.comparisons),
        sliders=tuple(
            slider_table(plan, comparison, total) for comparison in plan.comparisons for total in plan.grid.total_tokens
        ),
        points=tuple(points),
        findings=(*words.shares_on_d(plan), *rule_findings(plan, curves)),
        caveats=words.caveats(plan, curves),
        overloaded=overloaded(plan, curves),
        provenance=tuple({**plan.on_d.profile.provenance, **_profiles(plan), "ppdsim": __version__}.items()),
        unread_keys=plan.setup.unread_keys,
    )


def _curves(plan: Plan, total: int) -> list[ArmCurve]:
    """Return the append at the cache rates of every P arm, then each P arm at its own."""
    rates = [rates_of(plan, comparison, total) for comparison in plan.comparisons]
    every = tuple(sorted(set().union(*rates)))
    handoffs = [
        arm_curve(plan, comparison, total, own) for comparison, own in zip(plan.comparisons, rates, strict=True)
    ]
    return [arm_curve(plan, None, total, every), *handoffs]


def _profiles(plan: Plan) -> dict[str, str]:
    """Return the profile's id, and that of P where it is of another kind."""
    on_p, on_d = plan.on_p.profile.id, plan.on_d.profile.id
    return {"profile": on_d} if on_p == on_d else {"profile": on_d, "profile of P": on_p}


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
