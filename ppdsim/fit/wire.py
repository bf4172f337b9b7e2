"""The link's curve from transfers of it alone: bounded, robust, with a bootstrap over cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppdsim.cost.base import Array, Quantity
from ppdsim.errors import MeasurementError
from ppdsim.fit.cells import cell_value
from ppdsim.fit.curves import solve
from ppdsim.measurements import TransferRow
from ppdsim.metrics import interval_90, median, quantile
from ppdsim.transport.wire import WireCurve

DRAWS = 200
"""Bootstrap draws over cells."""
START = {"call_s": 1e-4, "block_s": 2e-5, "byte_s": 5e-10}
"""Where the search starts: a loopback of 2 GB/s."""
SEED = 20_260_102
"""Seed of the bootstrap."""
FEWEST_CELLS = 4
"""Cells below which three parameters mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedWire:
    """The curve, its draws (one model each), and how it reproduces cells that it has not seen."""

    curve: WireCurve
    draws: tuple[WireCurve, ...]
    cells: int
    left_out_median: float
    left_out_p90: float

    def interval(self, name: str) -> tuple[float, float]:
        """Return the 90 % interval of a parameter over the draws."""
        values = [float(np.asarray(draw.parameter_values()[name])) for draw in self.draws]
        low, high = interval_90(values)
        return float(low), float(high)


def fit_wire(rows: Sequence[TransferRow]) -> FittedWire:
    """Fit the link's curve to rows of one transport and memory.

    Raises
    ------
    MeasurementError
        If there are too few cells.
    """
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for row in rows:
        if not row.outlier:
            cells[row.size_bytes, row.blocks].append(row.transfer_s)
    if len(cells) < FEWEST_CELLS:
        raise MeasurementError(f"{len(cells)} transfer cells, expected at least {FEWEST_CELLS}")
    size, blocks = (np.array([float(key[i]) for key in cells]) for i in (0, 1))
    seconds = np.array([cell_value(values) for values in cells.values()])
    rng = np.random.default_rng(SEED)
    every = np.arange(len(seconds))
    errors = []
    for left_out in every:
        rest = every[every != left_out]
        curve = _fit(size[rest], blocks[rest], seconds[rest])
        errors.append(abs(float(np.asarray(curve.seconds(size[left_out], blocks[left_out]))) / seconds[left_out] - 1.0))
    picks = [rng.integers(0, len(every), len(every)) for _ in range(DRAWS)]
    return FittedWire(
        curve=_fit(size, blocks, seconds),
        draws=tuple(_fit(size[pick], blocks[pick], seconds[pick]) for pick in picks),
        cells=len(every),
        left_out_median=median(errors),
        left_out_p90=float(quantile(errors, 0.9)),
    )


def _fit(size: Array, blocks: Array, seconds: Array) -> WireCurve:
    def predict(values: dict[str, Quantity]) -> Array:
        return np.asarray(WireCurve.from_values(values).seconds(size, blocks))

    return WireCurve.from_values(dict(solve(WireCurve.PARAMETERS, START, predict, seconds)))
