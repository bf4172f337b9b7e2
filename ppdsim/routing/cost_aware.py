"""Append where it costs all users less: J of both arms (see `costs`), with the queues, batch and link of the moment.

It prices every node with one model, that of the fleet's first node.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.costs import append_cost, handoff_cost
from ppdsim.routing.view import AbstractClusterView, Request
from ppdsim.turn import TurnModel
from ppdsim.types import Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class CostAware(AbstractPolicy):
    """Compare J of both arms at the price `gamma`; on a tie append."""

    model: TurnModel
    transport: Transport
    gamma: float = 1.0

    def appends(self, request: Request, view: AbstractClusterView, node: int, prefill: int) -> bool:
        """Return whether an append costs no more."""
        append = append_cost(self.model, request, view, node)
        handoff = handoff_cost(self.model, self.transport, request, view, node, prefill)
        return append.j_s(self.gamma) <= handoff.j_s(self.gamma)
