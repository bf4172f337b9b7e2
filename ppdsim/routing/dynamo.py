"""Dynamo's conditional disaggregation (``--router-conditional-disagg``), its three rules and its guard.

::

    isl_bounding:  append iff  e < X  and  e / prompt < Y          e = prompt - cached on D ("effective ISL")
    prefill_load:  append iff  work promised to P > B x capacity   [tokens]; capacity of one forward
    isl_or_load:   either of the two
    guard:         never append where (KV in use on D + prompt) > G x KV pool of D

Source: Dynamo, docs/advanced-customizations/conditional-disaggregation (v1.5.1): X = ``eff_isl_threshold`` 2048, Y =
``eff_isl_ratio_threshold`` 0.7, ``prefill_busy_threshold`` and ``decode_busy_threshold`` unset. B and G are fractions,
of a worker's ``max_num_batched_tokens`` and of its KV capacity. Dynamo serves vLLM and TensorRT-LLM so, SGLang not
yet. Without a busy threshold ``prefill_load`` never appends, as there. It does not see streams or the link.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.fleet_model import FleetModel
from ppdsim.routing.view import AbstractClusterView, Request

EFF_ISL_THRESHOLD = 2_048
"""X [tokens]."""
EFF_ISL_RATIO_THRESHOLD = 0.7
"""Y [1]."""


class Rule(str, Enum):
    """Which of Dynamo's rules decides (field ``policy`` of its configuration)."""

    ISL_BOUNDING = "isl_bounding"
    PREFILL_LOAD = "prefill_load"
    ISL_OR_LOAD = "isl_or_load"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamo(AbstractPolicy):
    """Dynamo's rules; a P forward takes the `chunked_prefill_size` of its node."""

    fleet: FleetModel
    rule: Rule = Rule.ISL_BOUNDING
    eff_isl_threshold: int = EFF_ISL_THRESHOLD
    eff_isl_ratio_threshold: float = EFF_ISL_RATIO_THRESHOLD
    prefill_busy_threshold: float | None = None
    decode_busy_threshold: float | None = None

    def appends(self, request: Request, view: AbstractClusterView, node: int, prefill: int) -> bool:
        """Return whether the rule asks for an append and the guard lets it pass."""
        wanted = (self.rule is not Rule.PREFILL_LOAD and self._is_short(request, view, node)) or (
            self.rule is not Rule.ISL_BOUNDING and self._is_busy(view, prefill)
        )
        return wanted and not self._is_guarded(request, view, node)

    def _is_short(self, request: Request, view: AbstractClusterView, node: int) -> bool:
        effective = request.prompt_tokens - view.cached_tokens(node)
        return effective < min(self.eff_isl_threshold, self.eff_isl_ratio_threshold * request.prompt_tokens)

    def _is_busy(self, view: AbstractClusterView, prefill: int) -> bool:
        if self.prefill_busy_threshold is None:
            return False
        capacity = self.fleet.nodes[prefill].chunked_prefill_size
        return view.waiting_tokens(prefill) > self.prefill_busy_threshold * capacity

    def _is_guarded(self, request: Request, view: AbstractClusterView, node: int) -> bool:
        if self.decode_busy_threshold is None:
            return False
        projected = view.context_tokens(node) + request.prompt_tokens
        return projected > self.decode_busy_threshold * view.kv_pool_tokens(node)
