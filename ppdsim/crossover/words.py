"""The answer in words: the headline, where simulation and formula differ and why, and what to be careful about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppdsim.analytical.question import j_gain_s
from ppdsim.answers import WITH_WAITS, ArmCurve, BreakEvenPoint, Crossing
from ppdsim.crossover.plan import Plan
from ppdsim.types import Arm, Tag
from ppdsim.units import MS_PER_S

NAMES = {"nvlink": "NVLink", "tcp": "TCP", "rdma": "RDMA"}
CLOSE = 0.005
"""Difference of two cache rates that is not worth a sentence [1]; the simulated grid is no finer."""


def link(against: str, transport: str) -> str:
    """Return how the headline names a link: ``NVLink``, ``TCP (delta)``."""
    name = NAMES.get(transport, transport)
    return f"{name} (only what D lacks)" if against == "p-delta" else name


def headline(points: Sequence[BreakEvenPoint], gamma: float) -> str:
    """Return the answer in one sentence: N* of the typical turn over each link, with its interval."""
    parts: list[str] = []
    for point in points:
        over = link(point.against.arm, point.against.transport)
        n = point.n_star
        if point.case.startswith("D wins while fewer"):
            high = "any number" if n.high == float("inf") else f"{n.high:.1f}"
            parts.append(f"over {over} while fewer than {n.value:.1f} ({n.low:.1f} to {high}) streams decode there")
        elif point.case.startswith("D wins while more"):
            parts.append(f"over {over} while more than {n.value:.1f} streams decode there")
        else:
            parts.append(f"over {over} {'always' if 'D wins at any' in point.case else 'never'}")
    first = points[0]
    price = "" if gamma == 1.0 else f" at a price of {gamma:g} s of TTFT for a stalled stream-second"
    return (
        f"Append {first.new_tokens} tokens to {first.cached_tokens} cached ones on D{price}: " + "; ".join(parts) + "."
    )


def differences(
    formulas: Sequence[Crossing], simulated: Sequence[Crossing], curves: Sequence[ArmCurve], gamma: float
) -> tuple[str, ...]:
    """Return a sentence for every simulated r* outside the interval of the formula with waits: by how much, and why.

    The why is the difference of the two accounts of J at the simulated cache rate nearest to the formula's crossing.
    """
    with_waits = {_key(c): c for c in formulas if c.source == WITH_WAITS}
    out: list[str] = []
    for found in simulated:
        if found.axis != "r":
            continue
        formula = with_waits[_key(found)]
        gap = _gap(formula, found)
        if gap:
            where = (
                f"{found.against.label}, prompt of {found.fixed_tokens} tokens, "
                f"previous answer of {found.previous_output_tokens}"
            )
            out.append(f"{where}: {gap}. {_why(found, formula, curves, gamma)}")
    return tuple(out)


def _key(crossing: Crossing) -> tuple[object, ...]:
    return (crossing.against, crossing.axis, crossing.fixed_tokens, crossing.previous_output_tokens)


def _gap(formula: Crossing, found: Crossing) -> str | None:
    if not formula.values or not found.values:
        if formula.kind is found.kind:
            return None
        return f"the formula with waits says {_word(formula)}, the simulation {_word(found)}"
    low, high = (formula.interval.low, formula.interval.high) if formula.interval else (formula.values[0],) * 2
    if low - CLOSE <= found.values[-1] <= high + CLOSE:
        return None
    return f"the simulation puts r* at {found.values[-1]:.3f}, the formula with waits at {formula.values[-1]:.3f}"


def _why(found: Crossing, formula: Crossing, curves: Sequence[ArmCurve], gamma: float) -> str:
    at = (found.values or formula.values)[-1]
    handoff = next(c for c in curves if _is_of(c, found))
    append = next(c for c in curves if c.arm.arm == Arm.APPEND_D.value and c.total_tokens == found.fixed_tokens)
    rate = min(handoff.cache_rate, key=lambda r: abs(r - at))
    parts = []
    for name, curve in (("append", append), ("hand-off", handoff)):
        i = min(range(len(curve.cache_rate)), key=lambda j: abs(curve.cache_rate[j] - rate))
        waited = curve.simulated_ttft_s[i] - curve.ttft_s[i]
        lost = gamma * curve.simulated_lost_s[i] - (curve.j_s[i] - curve.ttft_s[i] - curve.wait_s[i])
        parts.append(
            f"the {name} waits {waited * MS_PER_S:.0f} ms (formula: {curve.wait_s[i] * MS_PER_S:.0f}) "
            f"and costs the others {lost * MS_PER_S:+.0f} ms beyond it"
        )
    return f"At r = {rate:.3f}, in the simulation " + "; ".join(parts) + "."


def _is_of(curve: ArmCurve, crossing: Crossing) -> bool:
    return (curve.arm, curve.total_tokens, curve.previous_output_tokens) == (
        crossing.against,
        crossing.fixed_tokens,
        crossing.previous_output_tokens,
    )


def _word(crossing: Crossing) -> str:
    return f"r* = {crossing.values[-1]:.3f}" if crossing.values else crossing.kind.value


def shares_on_d(plan: Plan) -> tuple[str, ...]:
    """Return, for each P arm, the share of the workload's follow-up turns that an idle D appends more cheaply."""
    traffic = plan.traffic
    if not len(traffic.new_tokens):
        return ()
    out = []
    for question in plan.questions:
        if question.previous_output_tokens == plan.grid.previous_output_tokens[0]:
            gain = np.asarray(j_gain_s(plan.middle, question, traffic.cached_tokens, traffic.new_tokens))
            over = link(question.arm.value, question.transport.value)
            out.append(
                f"Of the workload's {len(gain)} follow-up turns, {np.mean(gain > 0.0):.0%} are cheaper on D than over "
                f"{over} with {question.residents} streams decoding there (median: "
                f"{np.median(traffic.new_tokens):.0f} new tokens on {np.median(traffic.cached_tokens):.0f})."
            )
    return tuple(out)


def caveats(plan: Plan) -> tuple[str, ...]:
    """Return what the answer rests on that was not measured."""
    p_knows = "P has nothing cached" if plan.grid.prefill_cache == "cold" else "P still has the earlier prompts cached"
    unmeasured = sorted(
        {
            f"{q.arm.value} over {q.transport.value}"
            for q in plan.questions
            if plan.profile.curve("handoff", q.arm, q.transport).tag is Tag.MECHANISM
        }
    )
    floor = plan.profile.drift_of("floor_s")
    out = [
        f"{p_knows} (never D's answers): o is the previous answer that P must compute and D need not.",
        "What a hand-off takes from decoding streams (S_P) was not measured: assumed 0, and shown for 2 ms too.",
        "Captured graph sizes make the cost of small appends a staircase; the grid measured only captured sizes.",
    ]
    if floor is not None and floor.tag is Tag.PRIOR:
        out.append(
            f"Intervals are for another run of such a machine: its launch floor may be anywhere from "
            f"{floor.low * MS_PER_S:g} to {floor.high * MS_PER_S:g} ms ({floor.tag.value}). "
            "'ppdsim fit --anchor' narrows it."
        )
    out += [f"{name}: {Tag.MECHANISM.value}." for name in unmeasured]
    return tuple(out)
