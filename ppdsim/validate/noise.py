"""Measured values drawn again with the noise of their repeats: what every measured interval is made of.

A cell's noise is the half-range of its repeats over their value; a draw is the value times one plus a normal number of
that size. A cell with one repeat has no noise that anybody knows, and is not moved.
"""

from __future__ import annotations

import numpy as np

from ppdsim.cost.base import Array

RESAMPLES = 200
"""Draws of what a run might have measured."""


def resampled(value: float, noise: float, rng: np.random.Generator) -> Array:
    """Return a measured value, and draws of it with its repeats' noise [share]: shape (1 + RESAMPLES,), its unit."""
    return value * (1.0 + float(np.nan_to_num(noise)) * np.append(0.0, rng.standard_normal(RESAMPLES)))
