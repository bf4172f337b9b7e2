"""The turns that arrive while the residents decode: Poisson at the scenario's rate, or a workload's own arrivals.

A crossover run asks about one size of turn at a time, so of a workload it takes when turns arrive and how long their
answers are, and which size is typical: that of the follow-up turns, by what they find cached when the workload is
played through the scenario's fleet (:mod:`ppdsim.simulation.follow_ups`). It does not take the sizes one by one: that
is what ``ppdsim simulate`` does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppdsim.cost.base import Array
from ppdsim.scenario import Scenario
from ppdsim.scenario.schema import CrossoverGrid
from ppdsim.simulation.follow_ups import FollowUps, follow_ups
from ppdsim.types import Transport
from ppdsim.workload import rate_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Arrivals [s] and output tokens of the simulated turns, shape (turns,), and what the workload's follow-ups found.

    `follow_ups` is None where there is no workload, or it reuses nothing. `name` says where the turns come from,
    `notes` what the reader of a trace did with it.
    """

    name: str
    arrivals_s: Array
    output_tokens: tuple[int, ...]
    follow_ups: FollowUps | None
    notes: tuple[str, ...] = ()

    @property
    def rate_per_s(self) -> float:
        """Mean arrival rate [1/s]."""
        return rate_per_s(self.arrivals_s, f"{self.name}: the turns")

    @property
    def mean_output_tokens(self) -> float:
        """Mean answer [tokens]."""
        return float(np.mean(self.output_tokens))


def traffic_of(scenario: Scenario, grid: CrossoverGrid, *, seed: int) -> Traffic:
    """Return the traffic of a scenario: its workload's if it has one, else Poisson with the grid's numbers.

    Raises
    ------
    WorkloadError
        If the workload cannot be read, all its turns arrive at once, or one fits no node of the fleet.
    """
    rng = np.random.default_rng(seed)
    if scenario.workload is None:
        return Traffic(
            name=f"Poisson, {grid.turn_rate_per_s:g} per s",
            arrivals_s=np.cumsum(rng.exponential(1.0 / grid.turn_rate_per_s, grid.turns)),
            output_tokens=(grid.output_tokens,) * grid.turns,
            follow_ups=None,
        )
    conversations = scenario.build_workload().conversations(rng).kept()
    # A turn that follows an answer comes when the machine has given it, so only the others have an arrival.
    timed = sorted(
        (turn.arrival_s if number else conversation.arrival_s, turn.output_tokens)
        for conversation in conversations
        for number, turn in enumerate(conversation.turns)
        if not number or turn.arrival_s is not None
    )
    used = timed[: grid.turns]
    what = "conversations" if len(timed) == len(list(conversations)) else "requests"
    over = next(choice.transport for choice in grid.arms if choice.transport is not Transport.NONE)
    found = follow_ups(scenario, conversations, over, seed=seed)
    traffic = Traffic(
        name=f"{scenario.workload.kind} workload, {len(used)} of {len(timed)} {what}",
        arrivals_s=np.array([arrival_s for arrival_s, _ in used]),
        output_tokens=tuple(output_tokens for _, output_tokens in used),
        follow_ups=found if len(found.new_tokens) else None,
        notes=conversations.notes,
    )
    _ = traffic.rate_per_s
    return traffic
