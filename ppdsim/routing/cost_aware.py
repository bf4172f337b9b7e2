"""Append where it costs all users less: J of `ppdsim.turn` for both arms, with the waits of the moment.

::

    J(append) = W_D + TTFT(append-d) + gamma N S_D
    J(P)      = W_P + TTFT(p-*)      + gamma N S_P

N streams decode on the node now. W are the router's estimates: work in progress and promised; on a busy decode node
also the step in progress (half of one on average) and, for an append, the one queued behind it. It does not know the
delay that this turn gives to turns behind it on P, nor how long the streams will live, and it prices every node with
one model, that of the fleet's first node.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.view import AbstractClusterView, Request
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport

STEPS_BEFORE_APPEND = 1.5
"""Decode steps that an append waits on average for a running batch: half of one, and the one queued behind it."""
STEPS_BEFORE_JOIN = 1.0
"""Decode steps that a hand-off waits on average: half of one until D allocates, half of one until its KV may join."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostAware(AbstractPolicy):
    """Compare J of both arms at the price `gamma`; on a tie append."""

    model: TurnModel
    transport: Transport
    gamma: float = 1.0

    def appends(self, request: Request, view: AbstractClusterView, node: int, prefill: int) -> bool:
        """Return whether an append costs no more."""
        held = view.cached_tokens(node)
        on_p = view.cached_tokens(prefill)
        streams = view.streams(node)
        context = view.context_tokens(node)
        prompt, model, arm = request.prompt_tokens, self.model, view.handoff_arm
        append_s = view.wait_s(node) + float(model.append_ttft_s(held, prompt - held))
        handoff_s = view.wait_s(prefill) + float(model.handoff_ttft_s(arm, self.transport, held, prompt - held, on_p))
        if streams:
            step_s = float(model.decode.step_s(streams, context))
            each = context / streams
            append_s += STEPS_BEFORE_APPEND * step_s
            append_s += self.gamma * streams * float(model.stall_s(Arm.APPEND_D, held, prompt - held, streams, each))
            handoff_s += STEPS_BEFORE_JOIN * step_s
            handoff_s += self.gamma * streams * float(model.stall_s(arm, held, prompt - held, streams, each))
        return append_s <= handoff_s
