"""What a fleet's nodes cost: the curves of each node, and those of a pair that hands over.

A pair is two machines: the forward and its chunks are the P's; front end, decode and stall those of the node that
decodes; KV moves at the slower wire of the two. So the simulator plays it too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetModel:
    """Cost models by node, in the fleet's order, and what its hand-offs travel over."""

    nodes: tuple[TurnModel, ...]
    transport: Transport
    _pairs: dict[tuple[int, int], TurnModel] = field(default_factory=dict, init=False, repr=False, compare=False)

    def pair(self, prefill: int, node: int) -> TurnModel:
        """Return what a turn costs that `prefill` computes and hands over to `node`."""
        on_p, on_d = self.nodes[prefill], self.nodes[node]
        if on_p is on_d:
            return on_d
        key = id(on_p), id(on_d)
        if key not in self._pairs:
            self._pairs[key] = on_d.sent_by(on_p)
        return self._pairs[key]

    def can_hand_over(self, prefill: int, arm: Arm) -> bool:
        """Return whether the P's profile has a hand-off of this arm."""
        return (arm, self.transport) in self.nodes[prefill].handoffs
