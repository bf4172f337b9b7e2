"""What an append took from decoding streams, from measurement alone: for decisions that owe nothing to the curves.

Where an append was injected into streams, its stall is the measured gap less the undisturbed one. Elsewhere it is the
server's own span of the idle forward less the launch that was hidden where both were measured, at the nearest batch::

    S_D(L, m, N) = span(L, m) - h(N),    h(B) = median over injected cells of span - (gap - base)
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ppdsim.cost.base import Array
from ppdsim.fit.cells import Purpose, grid
from ppdsim.measurements import Measurements
from ppdsim.metrics import median
from ppdsim.types import Arm

Tokens = tuple[float, float]
RESAMPLES = 200
"""Draws of what a run might have measured."""
PURPOSES: tuple[Purpose, ...] = ("fit", "validation")
"""Rows that measure the machine; probes watch it drift."""


def resampled(value: float, noise: float, rng: np.random.Generator) -> Array:
    """Return a measured value, and draws of it with its repeats' noise [share]: shape (1 + RESAMPLES,), its unit.

    A cell's noise is the half-range of its repeats over their value; a draw is the value times one plus a normal number
    of that size. A cell with one repeat has no noise that anybody knows, and is not moved.
    """
    return value * (1.0 + float(np.nan_to_num(noise)) * np.append(0.0, rng.standard_normal(RESAMPLES)))


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
        if not math.isfinite(span) or not self.hidden_s:
            return None
        return max(0.0, span - self.hidden_s[_nearest(self.hidden_s, streams)])


def _nearest(by_batch: dict[float, float], streams: float) -> float:
    middle = math.log(max(streams, 1.0))
    return min(by_batch, key=lambda batch: abs(math.log(batch) - middle))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """What the rows hold: losses of each (L, m) and batch, losses to hand-offs, spans of idle forwards [s]."""

    appends: Mapping[tuple[Tokens, float], Array]
    handoffs: Array
    spans: Mapping[Tokens, float]
    context_tokens: float


def measured_stalls(measured: Measurements) -> MeasuredStalls:
    """Return what the rows of a run say of stalls, whether they were to be fitted or held out."""
    return _stalls(_read(measured))


def resampled_stalls(measured: Measurements, rng: np.random.Generator) -> tuple[MeasuredStalls, ...]:
    """Return what they say, and `RESAMPLES` times what they might have: gaps of each cell drawn with replacement."""
    rows = _read(measured)

    def resample(values: Array) -> Array:
        return rng.choice(values, len(values)) if len(values) else values

    drawn = (
        replace(rows, appends={at: resample(v) for at, v in rows.appends.items()}, handoffs=resample(rows.handoffs))
        for _ in range(RESAMPLES)
    )
    return (_stalls(rows), *map(_stalls, drawn))


def _read(measured: Measurements) -> _Rows:
    rows = [row for row in measured.interference if not row.outlier and row.purpose in PURPOSES]
    appends: dict[tuple[Tokens, float], list[float]] = defaultdict(list)
    handoffs: list[float] = []
    for row in rows:
        lost = [gap - row.itl_base_s for gap in row.stall_gap_s]
        if row.arm is Arm.APPEND_D:
            appends[(float(row.cached_tokens), float(row.new_tokens)), float(row.batch)] += lost
        else:
            handoffs += lost
    spans = {
        (float(cached), float(new)): float(total - outside)
        for cells in (grid(measured, purpose).append for purpose in PURPOSES)
        for cached, new, total, outside in zip(
            cells.cached_tokens, cells.new_tokens, cells.seconds, cells.outside_s, strict=True
        )
    }
    contexts = [row.prompt_tokens + row.generated_tokens for row in rows]
    return _Rows(
        appends={at: np.array(values) for at, values in appends.items()},
        handoffs=np.array(handoffs),
        spans=spans,
        context_tokens=median(contexts) if contexts else 0.0,
    )


def _stalls(rows: _Rows) -> MeasuredStalls:
    direct: dict[Tokens, dict[float, float]] = defaultdict(dict)
    hidden: dict[float, list[float]] = defaultdict(list)
    for (at, batch), losses in rows.appends.items():
        direct[at][batch] = median(losses)
        if np.isfinite(rows.spans.get(at, float("nan"))):
            hidden[batch].append(rows.spans[at] - direct[at][batch])
    return MeasuredStalls(
        direct_s=dict(direct),
        span_s=dict(rows.spans),
        hidden_s={batch: median(values) for batch, values in hidden.items()},
        handoff_s=max(0.0, median(rows.handoffs)) if len(rows.handoffs) else 0.0,
        context_tokens=rows.context_tokens,
    )
