"""Client, HTTP and scheduler: what a request pays around the engine's own work.

::

    in  = in_s + in_s_per_token * prompt_tokens      (client serialises, server parses and schedules)
    out = out_s                                      (sampled token back to the client)

Not modelled: a tokenizer (the first grid sent token ids), a client on another host, many requests at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppdsim.cost.base import AbstractCurve, Parameter, Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendCurve(AbstractCurve):
    """Seconds before a request reaches the scheduler, and from its first token to the client."""

    kind: ClassVar[str] = "frontend"
    PARAMETERS: ClassVar[tuple[Parameter, ...]] = (
        Parameter(name="in_s", unit="s", low=0.0, high=50e-3, meaning="client to scheduler, any prompt"),
        Parameter(name="in_s_per_token", unit="s/token", low=0.0, high=1e-5, meaning="client to scheduler, a token"),
        Parameter(name="out_s", unit="s", low=0.0, high=50e-3, meaning="first token from engine to client"),
    )
    in_s: Quantity
    in_s_per_token: Quantity
    out_s: Quantity

    def before_s(self, prompt_tokens: Quantity) -> Quantity:
        """Return the seconds from the client's send to the scheduler's queue."""
        return self.in_s + self.in_s_per_token * prompt_tokens

    def after_s(self) -> Quantity:
        """Return the seconds from the engine's token to the client's first byte."""
        return self.out_s
