"""The simulated side: turns arrive at a node pair while residents decode, the same arrivals for every arm.

J of an arm is the mean over turns of ``TTFT + gamma x (stream-seconds that others lost to the turn)``. The append runs
on a unified node (what it was measured on), a hand-off on one P and one D. Intervals come from the profile's draws:
each draw runs a shorter slice of the same arrivals, and its ratio to the central model on that slice scales the value
of the full run, so that the draws add the profile's uncertainty and not their own sampling noise. A run that is
OVERLOADED, or in which turns are rejected or time out, has no J.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppdsim.analytical.arm_comparison import ArmComparison, cached_on_p
from ppdsim.cost.base import Array
from ppdsim.crossover.plan import Plan
from ppdsim.des.cluster import run_cluster
from ppdsim.des.spec import ClusterSpec, NodeSpec, Preload
from ppdsim.metrics import OVERLOADED
from ppdsim.routing import AlwaysP
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, NodeRole, Transport
from ppdsim.workload import Conversation, TurnSpec

TURNS_OF_A_DRAW = 20
"""Turns that each draw simulates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Means over the turns of one run [s]; `lost_s` is stream-seconds that others lost to a turn.

    `label` is STABLE, BACKLOGGED or OVERLOADED; of an overloaded run the means are NaN.
    """

    label: str
    ttft_s: float
    tpot_s: float
    e2e_s: float
    kv_transfer_s: float
    lost_s: float

    def j_s(self, gamma: float) -> float:
        """Return TTFT + gamma x lost stream-seconds."""
        return self.ttft_s + gamma * self.lost_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """One arm at one (cached, new): the central run, and each draw's TTFT and loss scaled to it, shape (draws,).

    NaN throughout where the central run is overloaded.
    """

    central: Sample
    ttft_s: Array
    lost_s: Array

    def j_s(self, gamma: float) -> Array:
        """Return every draw's J."""
        return np.asarray(self.ttft_s + gamma * self.lost_s)


class PairSimulator:
    """Runs single turns through small fleets; remembers the append, which every P arm is compared with."""

    def __init__(self, plan: Plan, draws: Sequence[TurnModel]) -> None:
        self._plan = plan
        self._draws = draws
        self._known: dict[tuple[tuple[Arm, Transport] | None, int, int, int], Simulated] = {}

    def append(self, cached_tokens: int, new_tokens: int) -> Simulated:
        """Return the append on D."""
        return self._measure(None, cached_tokens, new_tokens)

    def handoff(self, comparison: ArmComparison, cached_tokens: int, new_tokens: int) -> Simulated:
        """Return the comparison's P arm."""
        return self._measure(comparison, cached_tokens, new_tokens)

    def pairs(self, comparison: ArmComparison) -> list[tuple[int, int]]:
        """Return every (cached, new) that both the append and the comparison's P arm were simulated at."""
        arm = (comparison.arm, comparison.transport)
        handoffs = {key[1:3] for key in self._known if key[0] == arm}
        return sorted({key[1:3] for key in self._known if key[0] is None} & handoffs)

    def _measure(self, comparison: ArmComparison | None, cached_tokens: int, new_tokens: int) -> Simulated:
        on_p = 0
        if comparison is not None:
            on_p = int(
                np.asarray(cached_on_p(comparison, float(cached_tokens), self._plan.central.on_p.page_size_tokens))
            )
        arm = None if comparison is None else (comparison.arm, comparison.transport)
        key = (arm, cached_tokens, new_tokens, on_p)
        if key not in self._known:
            turns = len(self._plan.traffic.arrivals_s)
            few = min(TURNS_OF_A_DRAW, turns)

            def run(model: TurnModel, count: int) -> Sample:
                return self._run(model, comparison, cached_tokens, new_tokens, on_p, count)

            central = run(self._plan.central, turns)
            if central.label == OVERLOADED:
                nothing = np.full(len(self._draws), np.nan)
                self._known[key] = Simulated(central=central, ttft_s=nothing, lost_s=nothing)
                return self._known[key]
            short = central if few == turns else run(self._plan.central, few)
            drawn = [run(model, few) for model in self._draws]
            self._known[key] = Simulated(
                central=central,
                ttft_s=np.array([central.ttft_s * d.ttft_s / short.ttft_s for d in drawn]),
                lost_s=np.array(
                    [central.lost_s * d.lost_s / short.lost_s if short.lost_s else d.lost_s for d in drawn]
                ),
            )
        return self._known[key]

    def _run(
        self,
        model: TurnModel,
        comparison: ArmComparison | None,
        cached_tokens: int,
        new_tokens: int,
        on_p: int,
        count: int,
    ) -> Sample:
        grid = self._plan.grid
        residents = {"residents": grid.residents, "resident_context_tokens": grid.resident_context_tokens}
        pool = self._plan.on_d.kv_pool_tokens
        knobs = {**self._plan.setup.knobs, "disaggregation_decode_enable_radix_cache": False, **residents}
        if comparison is None:
            spec = ClusterSpec(nodes=(NodeSpec(role=NodeRole.U, model=model, kv_pool_tokens=pool),), **knobs)
        else:
            prefill = NodeSpec(role=NodeRole.P, model=model.on_p, kv_pool_tokens=self._plan.on_p.kv_pool_tokens)
            decode = NodeSpec(role=NodeRole.D, model=model, kv_pool_tokens=pool)
            knobs["disaggregation_decode_enable_radix_cache"] = comparison.arm is Arm.P_DELTA
            spec = ClusterSpec(nodes=(prefill, decode), transport=comparison.transport, **knobs)
        traffic = self._plan.traffic
        arrivals = zip(traffic.arrivals_s[:count].tolist(), traffic.output_tokens, strict=False)
        conversations = [
            Conversation(
                conversation_id=i,
                arrival_s=time,
                turns=(TurnSpec(new_tokens=new_tokens, output_tokens=output_tokens),),
            )
            for i, (time, output_tokens) in enumerate(arrivals)
        ]
        results = run_cluster(
            spec,
            conversations,
            # Each fleet has one arm, whatever the rule.
            AlwaysP(),
            preloads=Preload(cached_tokens=cached_tokens, prefill_cached_tokens=on_p),
        )
        columns, label = results.turns, results.label
        if label == OVERLOADED or np.isnan(columns["ttft_s"]).any():
            nothing = float("nan")
            return Sample(
                label=OVERLOADED,
                ttft_s=nothing,
                tpot_s=nothing,
                e2e_s=nothing,
                kv_transfer_s=nothing,
                lost_s=nothing,
            )
        return Sample(
            label=label,
            ttft_s=float(np.mean(columns["ttft_s"])),
            tpot_s=float(np.nanmean(columns["tpot_s"])) if max(traffic.output_tokens) > 1 else float("nan"),
            e2e_s=float(np.mean(columns["e2e_s"])),
            kv_transfer_s=float(np.mean(columns["kv_transfer_s"])),
            lost_s=float(np.mean(columns["resident_stall_s"])),
        )
