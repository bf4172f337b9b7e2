"""Append while the residents' ITL stays within a budget, and only where TTFT gains by it.

::

    append iff  gap(L, m, N) <= budget  and  TTFT_D <= TTFT_P
    gap = promised work on D + stall_gap(L, m, N)        all chunks of a prompt in a row, appends one after another
    gap = T_step + S_D(largest chunk)                    where the engine decodes between chunks (mixed chunk)

``gap`` grows with m, so the first line is "m up to the largest append that fits"; with nobody decoding there is no
gap. SGLang runs a prompt's chunks in a row unless ``--enable-mixed-chunk`` is set; the simulator has no such switch,
so `enable_mixed_chunk` is for engines that do. Waits: see `costs`. It is the SLO form of the decision in
docs/explanation/model.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.cost.prefill import chunks
from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.costs import append_cost, handoff_cost
from ppdsim.routing.fleet_model import FleetModel
from ppdsim.routing.view import AbstractClusterView, Request
from ppdsim.types import Arm

ITL_BUDGET_S = 0.1
"""Largest gap between two tokens when the scenario names none (``slo.itl_max_ms``) [s]: the limit for a reaction that
feels instantaneous (Nielsen, Usability Engineering, 1993, chapter 5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SloAware(AbstractPolicy):
    """Keep every resident's gap within `itl_budget_s`."""

    fleet: FleetModel
    itl_budget_s: float = ITL_BUDGET_S
    enable_mixed_chunk: bool = False

    def appends(self, request: Request, view: AbstractClusterView, node: int, prefill: int) -> bool:
        """Return whether the append fits the budget and its TTFT is no longer than that of a hand-off."""
        if self.gap_s(request, view, node) > self.itl_budget_s:
            return False
        append = append_cost(self.fleet, request, view, node)
        return append.ttft_s <= handoff_cost(self.fleet, request, view, node, prefill, view.handoff_arm).ttft_s

    def gap_s(self, request: Request, view: AbstractClusterView, node: int) -> float:
        """Return the largest gap that the append would open in a stream that decodes on `node` now [s]."""
        model, streams = self.fleet.nodes[node], view.streams(node)
        if not streams:
            return 0.0
        held, each = view.cached_tokens(node), view.context_tokens(node) / streams
        new = request.prompt_tokens - held
        if not self.enable_mixed_chunk:
            return view.wait_s(node) + float(model.stall_gap_s(held, new, streams, each))
        step_s = float(model.decode.step_s(streams, streams * each))
        pieces = ((held + start, size) for start, size in chunks(new, model.chunked_prefill_size))
        return step_s + max(float(model.stall_s(Arm.APPEND_D, c, m, streams, each)) for c, m in pieces)
