"""What an append took from decoding streams, from measurement alone: for decisions that owe nothing to the curves.

Where an append was injected into streams, its stall is the measured gap less the undisturbed one. Elsewhere it is the
server's own span of the idle forward less the launch that was hidden where both were measured, at the nearest batch::

    S_D(L, m, N) = span(L, m) - h(N),    h(B) = median over injected cells of span - (gap - base)
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from ppdsim.calibrate.cells import Grid
from ppdsim.measurements import Measurements
from ppdsim.types import Arm

Tokens = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredStalls:
    """Measured S_D by (L, m) and batch, spans of idle forwards, hidden launches by batch, and S_P [s].

    `context_tokens` is the typical context of the streams that were stalled.
    """

    direct_s: dict[Tokens, dict[float, float]]
    span_s: dict[Tokens, float]
    hidden_s: dict[float, float]
    handoff_s: float
    context_tokens: float

    def append_s(self, cached_tokens: float, new_tokens: float, streams: float) -> float | None:
        """Return S_D [s] of one append for each of `streams` streams; None where nothing was measured."""
        at = (cached_tokens, new_tokens)
        if at in self.direct_s:
            return self.direct_s[at][_nearest(self.direct_s[at], streams)]
        span = self.span_s.get(at, float("nan"))
        if not np.isfinite(span) or not self.hidden_s:
            return None
        return max(0.0, span - self.hidden_s[_nearest(self.hidden_s, streams)])


def _nearest(by_batch: dict[float, float], streams: float) -> float:
    return min(by_batch, key=lambda batch: abs(np.log(batch) - np.log(max(streams, 1.0))))


def measured_stalls(measured: Measurements, cells: Grid) -> MeasuredStalls:
    """Return what the rows of a run say of stalls; `cells` are its prefill cells."""
    rows = [row for row in measured.interference if not row.outlier and row.purpose == "fit"]
    losses: dict[Tokens, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    handoffs: list[float] = []
    for row in rows:
        lost = [gap - row.itl_base_s for gap in row.stall_gap_s]
        if row.arm is Arm.APPEND_D:
            losses[float(row.cached_tokens), float(row.new_tokens)][float(row.batch)] += lost
        else:
            handoffs += lost
    direct = {at: {b: float(np.median(v)) for b, v in by_batch.items()} for at, by_batch in losses.items()}
    append = cells.append
    spans = {
        (float(cached), float(new)): float(total - outside)
        for cached, new, total, outside in zip(
            append.cached_tokens, append.new_tokens, append.seconds, append.outside_s, strict=True
        )
    }
    hidden: dict[float, list[float]] = defaultdict(list)
    for at, by_batch in direct.items():
        for batch, lost_s in by_batch.items():
            if np.isfinite(spans.get(at, float("nan"))):
                hidden[batch].append(spans[at] - lost_s)
    contexts = [row.prompt_tokens + row.generated_tokens for row in rows]
    return MeasuredStalls(
        direct_s=direct,
        span_s=spans,
        hidden_s={batch: float(np.median(values)) for batch, values in hidden.items()},
        handoff_s=max(0.0, float(np.median(handoffs))) if handoffs else 0.0,
        context_tokens=float(np.median(contexts)) if contexts else 0.0,
    )
