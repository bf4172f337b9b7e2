"""The rule that routers ship today: append where few tokens are new.

::

    append on D  iff  prompt - cached on D < threshold_tokens

It does not see queues, streams or what a transfer costs. Other routers' rules of this form, each with its own knob:

- ``llm-d``: ``nonCachedTokens`` of the plugin ``prefix-based-pd-decider``, llm-d-router
  pkg/epp/framework/plugins/scheduling/profilehandler/disagg/prefix_based_pd_decider.go at 3a08990: hand over from that
  many uncached tokens on; 0, the plugin's default, never hands over. llm-d has no recommended value: its samples have 8
  and 16, the plugin's README 512. Here 16 is what is taken when nothing is said.
- ``vllm-pull``: ``kv_recompute_threshold`` (``remote_pull_threshold`` in vllm#32553 as first merged),
  vllm/distributed/kv_transfer/kv_connector/v1/nixl/base_scheduler.py, 64: fewer remote tokens than that are recomputed
  and not pulled. vLLM applies it where P pulls from D; vllm#55801 (open) would apply it to what D pulls from P, and
  that reading is this preset.
- ``tensorrt-llm``: ``ConditionalDisaggConfig.max_local_prefill_length``, tensorrt_llm/llmapi/disagg_utils.py, 0, read
  in tensorrt_llm/serve/openai_disagg_service.py: hand over iff nothing matches or more than that is unmatched. As
  the comparison there is ``>``, the threshold here is one more.

A prompt of which nothing is cached on D is handed over by every policy (`ppdsim.routing.base`). TensorRT-LLM does so
too; the others' routers would append a short one.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.view import AbstractClusterView, Request

DEFAULT_TOKENS = 512
"""PPD's short cut [tokens]: ``PPD_BYPASS_THRESHOLD``, freelulul/vllm-ppd ppd/optimizer/ppd_decision_engine.py."""
LLM_D_TOKENS = 16
"""``nonCachedTokens`` in the larger of llm-d's P/D samples [tokens]."""
VLLM_PULL_TOKENS = 64
"""``kv_recompute_threshold``, vllm v1/nixl/base_scheduler.py [tokens]."""
TENSORRT_LLM_TOKENS = 0
"""``max_local_prefill_length``, tensorrt_llm/llmapi/disagg_utils.py [tokens]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold(AbstractPolicy):
    """Append where fewer than `threshold_tokens` are new on the decode machine."""

    threshold_tokens: int = DEFAULT_TOKENS

    def appends(self, request: Request, view: AbstractClusterView, node: int, prefill: int) -> bool:
        """Return whether few enough tokens are new."""
        del prefill
        return request.prompt_tokens - view.cached_tokens(node) < self.threshold_tokens
