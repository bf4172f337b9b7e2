"""What each arm of a turn would cost at the moment of a decision: TTFT, stall, and J.

::

    append-d:  TTFT = W_D + TTFT(append-d) + w_D     stall = N S_D
    p-*:       TTFT = W_P + TTFT(p-*)      + w_P     stall = N S_P        J = TTFT + gamma stall

Each node at its own curves (:mod:`ppdsim.routing.fleet_model`). N streams decode on the node now. W are the router's
estimates: work in progress and promised, and for a hand-off the KV that the link, or the NIC that it shares, still has
to carry; w is the wait for the scheduler of a decode node whose streams decode (`TurnModel.step_wait_s`). It does not
know the delay that this turn gives to turns behind it, nor how long the streams will live.
"""

from __future__ import annotations

from typing import NamedTuple

from ppdsim.routing.fleet_model import FleetModel
from ppdsim.routing.view import AbstractClusterView, Request
from ppdsim.types import Arm


class ArmCost(NamedTuple):
    """TTFT [s], and what the node's streams lose to the turn, added up [stream-seconds].

    A tuple, as two are made for each decision.
    """

    ttft_s: float
    stall_s: float

    def j_s(self, gamma: float) -> float:
        """Return J at the price `gamma` of a stalled stream-second [s]."""
        return self.ttft_s + gamma * self.stall_s


def append_cost(fleet: FleetModel, request: Request, view: AbstractClusterView, node: int) -> ArmCost:
    """Return the cost of a prefill on the decode node itself."""
    return view.once(("append", id(fleet), node), lambda: _append_cost(fleet, request, view, node))


def _append_cost(fleet: FleetModel, request: Request, view: AbstractClusterView, node: int) -> ArmCost:
    model, held, step_s = fleet.nodes[node], view.cached_tokens(node), _step_s(fleet, view, node)
    ttft_s, stall_s = model.append_ttft_and_stall_s(held, request.prompt_tokens - held, step_s)
    return ArmCost(
        ttft_s=view.wait_s(node) + float(ttft_s) + float(model.step_wait_s(Arm.APPEND_D, step_s)),
        stall_s=view.streams(node) * float(stall_s),
    )


def handoff_cost(
    fleet: FleetModel, request: Request, view: AbstractClusterView, node: int, prefill: int, arm: Arm
) -> ArmCost:
    """Return the cost of a prefill on the P `prefill` and a hand-off to `node`, as `p-full` or `p-delta`.

    Raises
    ------
    ProfileError
        If the P's profile has no such hand-off (`FleetModel.can_hand_over`).
    """
    return view.once((arm, id(fleet), node, prefill), lambda: _handoff_cost(fleet, request, view, node, prefill, arm))


def _handoff_cost(
    fleet: FleetModel, request: Request, view: AbstractClusterView, node: int, prefill: int, arm: Arm
) -> ArmCost:
    model, held, streams = fleet.pair(prefill, node), view.cached_tokens(node), view.streams(node)
    new, on_p = request.prompt_tokens - held, view.cached_tokens(prefill)
    idle_s = float(model.handoff_ttft_s(arm, fleet.transport, held, new, on_p))
    ttft_s = idle_s + handoff_delay_s(fleet, request, view, node, prefill, arm, held)
    if not streams:
        return ArmCost(ttft_s=ttft_s, stall_s=0.0)
    each = view.context_tokens(node) / streams
    return ArmCost(ttft_s=ttft_s, stall_s=streams * float(model.stall_s(arm, held, new, streams, each)))


def handoff_delay_s(
    fleet: FleetModel, request: Request, view: AbstractClusterView, node: int, prefill: int, arm: Arm, held: int
) -> float:
    """Return what the queues, the link and the batch of the moment add to the idle TTFT of a hand-off [s].

    `held` are the prompt's tokens that the decode node has.
    """
    # Forward and link work side by side, so a turn waits for the busier of the two.
    wire_s = float(fleet.pair(prefill, node).wire_s(arm, fleet.transport, held, request.prompt_tokens - held))
    wait_s = max(view.wait_s(prefill), view.link_wait_s(prefill, node, wire_s))
    return wait_s + float(fleet.nodes[node].step_wait_s(arm, _step_s(fleet, view, node)))


def _step_s(fleet: FleetModel, view: AbstractClusterView, node: int) -> float:
    """Return what a decode step takes on a node now, 0 where nothing decodes [s]."""

    def step_s() -> float:
        streams = view.streams(node)
        return float(fleet.nodes[node].decode.step_s(streams, view.context_tokens(node))) if streams else 0.0

    return view.once(("step", id(fleet), node), step_s)
