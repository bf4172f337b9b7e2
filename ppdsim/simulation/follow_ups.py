"""What follow-up turns of a workload really find: the workload is played once through the scenario's fleet.

A trace says how long prompts are, and a machine with room for everything would hold all of a conversation's past. A
real one evicts, so a turn finds less and has more to compute; and how many streams decode then is up to the fleet.
Decode nodes that keep no prefixes are played as nodes that do (pD), because the question is what an append would find.

Not modelled: that the arm of a turn moves the turns behind it; they are routed by the scenario's own policy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppdsim.cost.base import Array
from ppdsim.metrics import OVERLOADED
from ppdsim.scenario import Scenario
from ppdsim.scenario.keys import Command
from ppdsim.simulation.run import simulate
from ppdsim.types import NodeRole, Transport
from ppdsim.workload import Conversations


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUps:
    """Turns of a run that came after another one of their conversation, or found another's prefix on D.

    Attributes
    ----------
    cached_tokens, new_tokens, streams : array
        What D held of each one's prompt as it arrived, the rest, and the streams that decoded there; shape (turns,).
    held_share : float
        Share of them whose previous prompt D still held; 1 where none came after another one of its conversation [1].
    played : str
        The fleet that it was, in words.
    overloaded : bool
        The fleet could not keep up, so the numbers depend on how long the workload is.
    """

    cached_tokens: Array
    new_tokens: Array
    streams: Array
    held_share: float
    played: str
    overloaded: bool


def follow_ups(scenario: Scenario, conversations: Conversations, transport: Transport, *, seed: int) -> FollowUps:
    """Play conversations through a scenario's fleet and return what its follow-up turns found on D.

    Parameters
    ----------
    transport : Transport
        What the KV travels over where the scenario does not say.

    Raises
    ------
    InputError
        If the fleet cannot be built, or a turn fits no node.
    """
    fleet = tuple(
        group.model_copy(update={"role": NodeRole.PD}) if group.role is NodeRole.D else group
        for group in scenario.fleet
    )
    changes: dict[str, object] = {"fleet": fleet}
    if scenario.transport is Transport.NONE and any(group.role is NodeRole.P for group in fleet):
        changes["transport"] = transport
    # What was set for this call has been checked for the crossover.
    played = scenario.model_copy(update=changes).asking(())
    results = simulate(played, seed=seed, command=Command.CROSSOVER, conversations=conversations)
    turns, summary = results.turns, results.summary()
    held = turns["decode_held_tokens"]
    rows = (turns["decode_node"] >= 0) & ((turns["turn"] > 0) | (held > 0))
    share = summary["prefix_cache"]["decode"]["held_share"]
    made_of = results.provenance
    over = "" if made_of["transport"] == Transport.NONE.value else f" over {made_of['transport']}"
    return FollowUps(
        cached_tokens=held[rows].astype(np.float64),
        new_tokens=(turns["input_tokens"] - held)[rows].astype(np.float64),
        streams=turns["decode_streams"][rows].astype(np.float64),
        held_share=1.0 if share is None else share,
        played=f"{made_of['fleet']}{over}, routed by {made_of['policy']}",
        overloaded=summary["label"] == OVERLOADED,
    )
