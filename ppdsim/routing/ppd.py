"""PPD's rule (arXiv 2603.13358): short inputs on D, else a score of relative TTFT gained and TPOT lost.

::

    append iff  m < 512,  else iff  w_ttft (TTFT_P - TTFT_D) / TTFT_P  -  w_tpot (TPOT_D - TPOT_P) / TPOT_P  >  0
    (TPOT_D - TPOT_P) / TPOT_P = rate x S_D

Source: freelulul/vllm-ppd, ppd/optimizer/ppd_decision_engine.py at 28aaa63 (``PPD_BYPASS_THRESHOLD`` 512,
``_calculate_score``, weights ``W_TTFT`` and ``W_TPOT`` 1). There the means come from a benchmark of the machine, by
class of context, of input and (true) output length, and of load; a policy here must not know the output. Its numbers
come from the curves in place of the table: idle TTFT of both arms, and the share of time for which a stream stands
still when every turn that comes to this node is appended like this one, ``rate`` of them a second. Like the table it
sees the load, and not the queue or the batch of the moment.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.fleet_model import FleetModel
from ppdsim.routing.threshold import DEFAULT_TOKENS
from ppdsim.routing.view import AbstractClusterView, Request
from ppdsim.types import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Ppd(AbstractPolicy):
    """The short cut, then the score."""

    fleet: FleetModel
    bypass_threshold_tokens: int = DEFAULT_TOKENS
    w_ttft: float = 1.0
    w_tpot: float = 1.0

    def appends(self, request: Request, view: AbstractClusterView, node: int, prefill: int) -> bool:
        """Return whether the input is short or the score is positive."""
        held = view.cached_tokens(node)
        new = request.prompt_tokens - held
        if new < self.bypass_threshold_tokens:
            return True
        model = self.fleet.nodes[node]
        append_s = float(model.append_ttft_s(held, new))
        on_p = view.cached_tokens(prefill)
        pair = self.fleet.pair(prefill, node)
        handoff_s = float(pair.handoff_ttft_s(view.handoff_arm, self.fleet.transport, held, new, on_p))
        streams = max(view.streams(node), 1)
        context = view.context_tokens(node) / streams
        stalled = view.turns_per_s(node) * float(model.stall_s(Arm.APPEND_D, held, new, streams, context))
        return self.w_ttft * (handoff_s - append_s) / handoff_s - self.w_tpot * stalled > 0.0
