"""Append while the residents' ITL stays within a budget, and only where TTFT gains by it.

::

    append iff  gap(L, m, N) <= budget  and  TTFT_D <= TTFT_P
    gap = promised work on D + stall_gap(L, m, N)        all chunks of a prompt in a row, appends one after another
    gap = the longest forward of a chunk and N rows      where the streams get a token in each (mixed steps)

The first gap grows with m, so the rule is "m up to the largest append that fits". The second does not once m is longer
than a chunk, which is `chunked_prefill_size` less the N rows: an engine that splits an append keeps any budget that one
chunk keeps. With nobody decoding there is no gap. Waits: see `costs`. It is the SLO form of the decision in
docs/explanation/model.md; the cost of a mixed forward is that of :mod:`ppdsim.des.batching`, assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.cost.prefill import chunks
from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.costs import append_cost, handoff_cost
from ppdsim.routing.fleet_model import FleetModel
from ppdsim.routing.view import AbstractClusterView, Request

ITL_BUDGET_S = 0.1
"""Largest gap between two tokens when the scenario names none (``slo.itl_max_ms``) [s]: the limit for a reaction that
feels instantaneous (Nielsen, Usability Engineering, 1993, chapter 5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SloAware(AbstractPolicy):
    """Keep every resident's gap within `itl_budget_s`."""

    fleet: FleetModel
    itl_budget_s: float = ITL_BUDGET_S

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
        if not model.engine.mixes_steps:
            return view.wait_s(node) + float(model.stall_gap_s(held, new, streams, each))
        curve, size = model.prefill, max(model.chunked_prefill_size - streams, model.page_size_tokens)
        works = [curve.work(tokens, held + before) for before, tokens in chunks(new, size)]
        forwards = [curve.forward_s(work._replace(tokens=work.tokens + streams)) for work in works]
        return float(max(forwards)) + float(model.decode.context_s_per_token) * view.context_tokens(node)
