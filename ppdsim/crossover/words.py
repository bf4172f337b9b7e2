"""The answer in words: the headline, where simulation and formula differ and why, and what to be careful about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppdsim.analytical.arm_comparison import j_gain_s
from ppdsim.analytical.breakeven import Case
from ppdsim.answers import ALL_EQUAL, NOT_DRAWN, ArmCurve, BreakEvenPoint, HostInterval
from ppdsim.crossover.plan import Plan
from ppdsim.metrics import median, quantile
from ppdsim.types import Tag
from ppdsim.units import BYTES_PER_GB, MS_PER_S

NAMES = {"nvlink": "NVLink", "tcp": "TCP", "rdma": "RDMA"}


def link(against: str, transport: str) -> str:
    """Return how the headline names a link: ``NVLink``, ``TCP (delta)``."""
    name = NAMES.get(transport, transport)
    return f"{name} (only what D lacks)" if against == "p-delta" else name


def headline(points: Sequence[BreakEvenPoint], gamma: float) -> str:
    """Return the answer in one sentence: N* of the typical turn over each link, on this host and on another one."""
    parts = [f"over {link(p.against.arm, p.against.transport)} {_load_clause(p)}" for p in points]
    first = points[0]
    price = "" if gamma == 1.0 else f", at a price of {gamma:g} s of TTFT for a stalled stream-second"
    turn = f"{first.new_tokens} tokens to {first.cached_tokens} cached ones"
    return f"Appending {turn} on D is cheaper than a hand-off{price}: {'; '.join(parts)}."


def _load_clause(point: BreakEvenPoint) -> str:
    n = point.n_star
    if point.case == Case.ABOVE.value:
        return f"while more than {n.this_host:.1f} streams decode on D"
    if n.draws == ALL_EQUAL and not 0.0 < n.this_host < float("inf"):
        return "at any number of streams on D" if n.this_host else "at no number of streams on D"
    return f"while fewer than N* streams decode on D: {both_hosts(n)}"


def both_hosts(found: HostInterval) -> str:
    """Print a number of streams on this host and on another one, each under its name.

    >>> both_hosts(HostInterval(this_host=3.9, value=4.8, low=3.8, high=float("inf")))
    'this host 3.9; another host of this kind 4.8 (3.8 to any number)'
    >>> both_hosts(HostInterval(this_host=3.9, value=3.9, low=None, high=None, draws="all equal"))
    'this host 3.9; another host of this kind 3.9 (all draws equal)'
    """

    def show(value: float) -> str:
        return "any number" if value == float("inf") else f"{value:.1f}"

    if found.draws == NOT_DRAWN:
        return f"this host {show(found.this_host)}; another host of this kind not drawn"
    spread = f"{found.draws.replace('equal', 'draws equal')}"
    if found.low is not None and found.high is not None:
        spread = f"{show(found.low)} to {show(found.high)}"
    return f"this host {show(found.this_host)}; another host of this kind {show(found.value)} ({spread})"


def shares_on_d(plan: Plan) -> tuple[str, ...]:
    """Return what the workload's follow-up turns find on D, and how many are cheaper there than on each P arm."""
    found = plan.traffic.follow_ups
    if found is None:
        return ()
    streams = round(median(found.streams))
    out = [
        f"The workload was played through {found.played}. As a follow-up turn arrives, D has "
        f"{median(found.cached_tokens):.0f} tokens of its prompt cached and lacks {median(found.new_tokens):.0f} "
        f"(medians of {len(found.streams)} turns), and {streams} streams decode on D (median; p90 "
        f"{quantile(found.streams, 0.9):.0f}). D still holds the previous prompt of {found.held_share:.0%} of "
        "these turns."
        + (" The workload overloads this fleet, so these numbers depend on its length." * found.overloaded)
    ]
    for comparison in plan.comparisons:
        if comparison.previous_output_tokens == plan.grid.previous_output_tokens[0]:
            priced = comparison.with_price_and_residents(gamma=comparison.gamma, residents=streams)
            gain = np.asarray(j_gain_s(plan.central, priced, found.cached_tokens, found.new_tokens))
            over = link(comparison.arm.value, comparison.transport.value)
            out.append(
                f"Of these turns, {np.mean(gain > 0.0):.0%} are cheaper as an append than as a hand-off over {over}, "
                f"with {streams} streams on D and no queue."
            )
    return tuple(out)


def caveats(plan: Plan, curves: Sequence[ArmCurve]) -> tuple[str, ...]:
    """Return what the answer, of these `curves`, rests on that was not measured."""
    cold = plan.grid.prefill_cache == "cold"
    p_cache = "P has nothing cached." if cold else "P has the earlier prompts cached, but none of D's answers."
    unmeasured = sorted(
        {
            f"{q.arm.value} over {q.transport.value}"
            for q in plan.comparisons
            if plan.on_p.profile.curve("handoff", q.arm, q.transport).tag is Tag.MECHANISM
        }
    )
    floor = plan.on_d.profile.drift_of("floor_s")
    out = [
        f"{p_cache} P must compute the previous answer (o tokens), which D holds.",
        "The delay S_P that a hand-off adds to D's streams is unmeasured: it is assumed 0, and also shown for 2 ms.",
        "The cost of small appends rises in steps at the engine's captured graph sizes; only these were measured.",
    ]
    derivations = dict.fromkeys(p.derivation for p in (plan.on_p.profile, plan.on_d.profile) if p.derivation)
    if derivations:
        arms = {curve.arm.label: all(curve.extrapolated) for curve in curves}
        dashed = [arm for arm, throughout in arms.items() if throughout]
        lines = (
            "every line is dashed" if len(dashed) == len(arms) else f"dashed throughout: {', '.join(dashed) or 'none'}"
        )
        out.insert(0, f"The profile is {'; '.join(derivations)}; {lines}.")
    if plan.on_p.profile is not plan.on_d.profile:
        out.insert(0, f"P runs on {plan.on_p.profile.machine}, D on {plan.on_d.profile.machine}.")
    if plan.scenario.link_bytes_per_s is not None:
        speed = f"{plan.scenario.link_bytes_per_s / BYTES_PER_GB:g} GB/s"
        out.append(f"Assumed: KV moves at {speed} on every link; the rest of a hand-off is as measured over that link.")
    out += [f"Workload: {note}." for note in plan.traffic.notes]
    simulated_only = [*plan.setup.requested.simulated_only]
    if not plan.scenario.routing.awaits_prefill:
        simulated_only.append("routing.awaits_prefill")
    if simulated_only:
        out.append(f"Only the simulation follows {', '.join(simulated_only)}; the formulas use the engine's defaults.")
    if floor is not None and floor.tag is Tag.PRIOR:
        out.append(
            f"Intervals are for another run of such a machine: its launch floor may be anywhere from "
            f"{floor.low * MS_PER_S:.3g} to {floor.high * MS_PER_S:.3g} ms ({floor.tag.value}). "
            "'ppdsim fit --anchor' narrows it."
        )
    out += [f"{name}: {Tag.MECHANISM.value}." for name in unmeasured]
    return tuple(out)
