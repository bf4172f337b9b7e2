"""Bootstrap over cells: what the choice of grid points leaves open.

Cells, never rows, are drawn with replacement, within each kind and arm, so repeats of one cell stay together and every
curve keeps as many cells as were measured.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ppdsim.calibrate.cells import Cells, Grid
from ppdsim.turn import TurnModel


def resample(cells: Grid, rng: np.random.Generator) -> Grid:
    """Return a grid of the same size whose cells are drawn with replacement."""

    def again(group: Cells) -> Cells:
        return group.pick(rng.integers(0, len(group), len(group))) if len(group) else group

    return Grid(
        append=again(cells.append),
        decode=again(cells.decode),
        stall=again(cells.stall),
        handoffs=tuple(again(group) for group in cells.handoffs),
        handoff_stall=again(cells.handoff_stall),
    )


def bootstrap(cells: Grid, fit: Callable[[Grid], TurnModel], draws: int, rng: np.random.Generator) -> list[TurnModel]:
    """Return `draws` models, each fitted to a resampled grid."""
    return [fit(resample(cells, rng)) for _ in range(draws)]
