"""Append where it costs all users less: J of both arms (see `costs`), with the queues, batch and link of the moment."""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.costs import append_cost, handoff_cost
from ppdsim.routing.fleet_model import FleetModel
from ppdsim.routing.view import AbstractClusterView, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class CostAware(AbstractPolicy):
    """Compare J of both arms at the price `gamma`; on a tie append."""

    fleet: FleetModel
    gamma: float = 1.0

    def appends(self, request: Request, view: AbstractClusterView, node: int, prefill: int) -> bool:
        """Return whether an append costs no more."""
        append = append_cost(self.fleet, request, view, node)
        handoff = handoff_cost(self.fleet, request, view, node, prefill, view.handoff_arm)
        return append.j_s(self.gamma) <= handoff.j_s(self.gamma)
