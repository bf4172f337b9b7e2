"""The rule that routers ship today: append where few tokens are new.

::

    append on D  iff  prompt - cached on D < threshold_tokens

Dynamo's `isl_bounding` (2048), llm-d's `nonCachedTokens` (8 to 16) and PPD's first test (512) are this rule with other
numbers. It does not see queues, streams or what a transfer costs.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.view import AbstractClusterView, Request

DEFAULT_TOKENS = 512
"""PPD's number (arXiv 2603.13358) [tokens]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold(AbstractPolicy):
    """Append where fewer than `threshold_tokens` are new on the decode machine."""

    threshold_tokens: int = DEFAULT_TOKENS

    def appends(self, request: Request, view: AbstractClusterView, node: int, prefill: int) -> bool:
        """Return whether few enough tokens are new."""
        del prefill
        return request.prompt_tokens - view.cached_tokens(node) < self.threshold_tokens
