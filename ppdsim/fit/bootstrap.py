"""Bootstrap over cells: what the choice of grid points leaves open.

Cells, never rows, are drawn with replacement, within each kind and arm, so repeats of one cell stay together and every
curve keeps as many cells as were measured. Terms that no cell shows take another value of their prior in each draw.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ppdsim.fit.assumed import Assumed, drawn
from ppdsim.fit.cells import Cells, Grid
from ppdsim.turn import TurnModel

DRAWS = 200
"""Bootstrap draws of a profile."""


def resample(cells: Grid, rng: np.random.Generator) -> Grid:
    """Return a grid of the same size whose cells are drawn with replacement."""

    def again(group: Cells) -> Cells:
        return group.pick(rng.integers(0, len(group), len(group))) if len(group) else group

    return cells.each(again)


class Fit(Protocol):
    """What fits a model to cells, and takes what is assumed of terms that they do not show."""

    def __call__(self, cells: Grid, assumed: Assumed = ...) -> TurnModel:
        """Return the fitted model."""


def bootstrap(cells: Grid, fit: Fit, draws: int, rng: np.random.Generator) -> list[TurnModel]:
    """Return `draws` models, each fitted to a resampled grid."""
    return [fit(resample(cells, rng), assumed) for assumed in drawn(draws)]
