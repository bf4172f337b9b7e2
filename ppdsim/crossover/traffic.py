"""The turns that arrive while the residents decode: Poisson at the scenario's rate, or a workload's own arrivals.

A crossover run asks about one size of turn at a time, so of a workload it takes when turns arrive and how long their
answers are, and which size is typical: the follow-up turns, whose prefix a machine with room for everything would still
hold. It does not take the sizes one by one: that is what ``ppdsim simulate`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppdsim.cost.base import Array
from ppdsim.scenario import Scenario
from ppdsim.scenario.schema import CrossoverGrid
from ppdsim.workload import Conversation, rate_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Arrivals [s] and output tokens of the simulated turns; cached and new tokens of the workload's follow-ups.

    `arrivals_s` and `output_tokens` have shape (turns,); `cached_tokens` and `new_tokens` have shape (follow-ups,),
    empty where there is no workload or it reuses nothing. `name` says where they come from.
    """

    name: str
    arrivals_s: Array
    output_tokens: tuple[int, ...]
    cached_tokens: Array
    new_tokens: Array

    @property
    def rate_per_s(self) -> float:
        """Mean arrival rate [1/s]."""
        return rate_per_s(self.arrivals_s, f"{self.name}: the turns")

    @property
    def mean_output_tokens(self) -> float:
        """Mean answer [tokens]."""
        return float(np.mean(self.output_tokens))


def traffic_of(scenario: Scenario, grid: CrossoverGrid, rng: np.random.Generator) -> Traffic:
    """Return the traffic of a scenario: its workload's if it has one, else Poisson with the grid's numbers.

    Raises
    ------
    WorkloadError
        If the workload cannot be read, or all its turns arrive at once.
    """
    if scenario.workload is None:
        return Traffic(
            name=f"Poisson, {grid.turn_rate_per_s:g} per s",
            arrivals_s=np.cumsum(rng.exponential(1.0 / grid.turn_rate_per_s, grid.turns)),
            output_tokens=(grid.output_tokens,) * grid.turns,
            cached_tokens=np.zeros(0),
            new_tokens=np.zeros(0),
        )
    conversations = list(scenario.build_workload().conversations(rng))
    # A turn that follows an answer comes when the machine has given it, so only the others have an arrival.
    timed = sorted(
        (turn.arrival_s if number else conversation.arrival_s, turn.output_tokens)
        for conversation in conversations
        for number, turn in enumerate(conversation.turns)
        if not number or turn.arrival_s is not None
    )
    used = timed[: grid.turns]
    what = "conversations" if len(timed) == len(conversations) else "requests"
    pairs = _follow_ups(conversations)
    traffic = Traffic(
        name=f"{scenario.workload.kind} workload, {len(used)} of {len(timed)} {what}",
        arrivals_s=np.array([arrival_s for arrival_s, _ in used]),
        output_tokens=tuple(output_tokens for _, output_tokens in used),
        cached_tokens=np.array([cached for cached, _ in pairs], dtype=np.float64),
        new_tokens=np.array([new for _, new in pairs], dtype=np.float64),
    )
    _ = traffic.rate_per_s
    return traffic


def _follow_ups(conversations: Sequence[Conversation]) -> list[tuple[int, int]]:
    """Return (cached, new) tokens of every turn whose prefix was seen before, on a machine that forgets nothing.

    Turns with block ids are taken in order of arrival as far as it is known: they share across conversations.
    """
    pairs: list[tuple[int, int]] = []
    seen: set[int] = set()
    known_s = [
        (conversation.arrival_s if turn.arrival_s is None else turn.arrival_s, turn)
        for conversation in conversations
        for turn in conversation.turns
        if turn.block_ids is not None
    ]
    for _, turn in sorted(known_s, key=lambda pair: pair[0]):
        ids = turn.block_ids or ()
        known = next((i for i, block in enumerate(ids) if block not in seen), len(ids))
        seen.update(ids)
        cached = min(known * turn.block_tokens, turn.new_tokens - 1)
        pairs.append((cached, turn.new_tokens - cached))
    for conversation in conversations:
        held = 0
        for turn in conversation.turns:
            if turn.block_ids is None:
                pairs.append((held, turn.new_tokens))
                held += turn.new_tokens + turn.output_tokens
    return [(cached, new) for cached, new in pairs if cached]
