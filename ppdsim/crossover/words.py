"""The answer in words: the headline, where simulation and formula differ and why, and what to be careful about."""

from __future__ import annotations

from collections.abc import Sequence

from ppdsim.answers import BreakEvenPoint, Crossing, CrossingKind
from ppdsim.crossover.plan import Plan
from ppdsim.types import Tag

NAMES = {"nvlink": "NVLink", "tcp": "TCP", "rdma": "RDMA"}
NOTEWORTHY = 0.1
"""Difference of two J that is worth a sentence [share of the larger]."""


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


def differences(pairs: Sequence[tuple[Crossing, Crossing]], waits_ms: tuple[float, float]) -> tuple[str, ...]:
    """Return a sentence for every r* whose simulated value leaves the analytical interval."""
    out: list[str] = []
    for analytical, simulated in pairs:
        where = f"{analytical.against.label}, prompt of {analytical.fixed_tokens}, o = {analytical.previous_output_tokens}"
        if analytical.kind is not simulated.kind:
            if CrossingKind.SEVERAL in (analytical.kind, simulated.kind) and analytical.values and simulated.values:
                continue
            out.append(
                f"{where}: idle formula says {_word(analytical)}, simulation under load says {_word(simulated)}; "
                "the simulation sees the grid's cache rates only, and waits the formula leaves out."
            )
        elif analytical.values and simulated.values:
            gap = simulated.values[-1] - analytical.values[-1]
            low, high = (analytical.interval.low, analytical.interval.high) if analytical.interval else (0.0, 1.0)
            if not low <= simulated.values[-1] <= high:
                out.append(
                    f"{where}: simulated r* is {gap:+.3f} from the idle formula's {analytical.values[-1]:.3f}."
                )
    if out:
        out.append(
            f"Why: under load an append waits {waits_ms[0]:.1f} ms on average for its turn between decode steps and "
            f"a hand-off {waits_ms[1]:.1f} ms behind others; turns that are still decoding are stalled too, so more than "
            "the residents lose; and the idle formula has neither."
        )
    return tuple(out)


def _word(crossing: Crossing) -> str:
    return f"r* = {crossing.values[-1]:.3f}" if crossing.values else crossing.kind.value


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
            f"{floor.low * 1e3:g} to {floor.high * 1e3:g} ms ({floor.tag.value}). 'ppdsim fit --anchor' narrows it."
        )
    out += [f"{name}: {Tag.MECHANISM.value}." for name in unmeasured]
    return tuple(out)
