"""T_step(B, context): seconds of one decode step of B streams that together hold `context_tokens` of KV.

::

    T_step = floor_s + row_s * pad(B) + context_s_per_token * C * pad(B) / B

The floor is weight read and launch, a row is the matrix work and sampling of one stream, and the last part reads the
KV. ``pad`` is the next captured CUDA-graph size, so the cost is a staircase in B: a graph lays its attention out for
all its rows, and those that pad a smaller batch leave their share of the GPU idle. Where the scheduler overlaps, the
host launches a step while the one before runs; the first step of a decode-mode server that had none running takes
`start_s` more: the launch, and what the server does to take a hand-off into its batch. Its other steps are a unified
server's (the streams that decode beside the hand-offs of `h100x2_llama-3.1-8b_sglang-0.5.17` step within 0.5 % of it).
Not modelled: speculative decoding, sampling cost by vocabulary, eager execution above the largest captured size. Forms
that were tried: docs/design/curve-forms.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppdsim.cost.base import AbstractCurve, Parameter, Quantity, maximum, pad_up


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeCurve(AbstractCurve):
    """Seconds of a decode step; linear in the total context for a fixed batch.

    `graph_sizes` are the engine's captured batches [streams].
    """

    kind: ClassVar[str] = "decode"
    PARAMETERS: ClassVar[tuple[Parameter, ...]] = (
        Parameter(name="floor_s", unit="s", low=1e-3, high=20e-3, meaning="weight read and launch of a step"),
        Parameter(name="row_s", unit="s/stream", low=0.0, high=1e-3, meaning="matrix work and sampling of one stream"),
        Parameter(name="context_s_per_token", unit="s/token", low=1e-9, high=1e-6, meaning="reading one token of KV"),
        Parameter(name="start_s", unit="s", low=0.0, high=20e-3, meaning="a decode server's first step, extra"),
    )
    floor_s: Quantity
    row_s: Quantity
    context_s_per_token: Quantity
    start_s: Quantity
    graph_sizes: tuple[int, ...]

    def batch_s(self, batch: Quantity) -> Quantity:
        """Return the part of a step that depends on the batch alone [s]."""
        return self.floor_s + self.row_s * pad_up(batch, self.graph_sizes)

    def slope_s(self, batch: Quantity) -> Quantity:
        """Return what one more token of KV adds to a step of `batch` streams [s]."""
        return self.context_s_per_token * pad_up(batch, self.graph_sizes) / maximum(batch, 1)

    def step_s(self, batch: Quantity, context_tokens: Quantity) -> Quantity:
        """Return T_step [s] of `batch` streams that hold `context_tokens` together."""
        return self.batch_s(batch) + self.slope_s(batch) * context_tokens
