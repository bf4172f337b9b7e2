"""Intervals over replications: Student's t for a mean of independent seeds, and joint draws of a whole line of means.

::

    mean +- t(0.95, n - 1) s / sqrt(n)                                   the 90 % interval of n replications
    mean +- t(1 - 0.05 / k, n - 1) s / sqrt(n)                           k such intervals that hold at once
    draw = mean + sum_i z_i (x_i - mean) / sqrt(n (n - 1)) / sqrt(c / (n - 1)),  z ~ N(0, 1), c ~ chi2(n - 1)

A draw moves all points of a line together, as one seed did, and at each point alone has the distribution of the
interval above; a crossing's interval comes from the crossings of the draws. Differences of paired runs go in as they
are: what both runs share has then left the spread. What it does not know: that few seeds may all be alike by chance,
and any error of the profile or the model.

Source: Law, Simulation Modeling and Analysis, chapters 9.4 (replications) and 10.2 (paired t).
"""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

from ppdsim.answers import Interval
from ppdsim.cost.base import Array

UPPER = 0.95
"""Upper end of the central 90 % [1]."""


def mean_interval(values: Array, *, family: int = 1) -> Interval | None:
    """Return the mean of replications, shape (n,), with its 90 % interval; None for fewer than two.

    Of `family` such intervals, all hold at once with 90 % (Bonferroni); this keeps the promise when the best of several
    is picked first and judged then.

    >>> found = mean_interval(np.array([1.0, 3.0]))
    >>> found.value, round(found.low, 6), round(found.high, 6)
    (2.0, -4.313752, 8.313752)
    """
    count = len(values)
    if count < 2:
        return None
    mean = float(np.mean(values))
    half = float(stdtrit(count - 1, 1.0 - (1.0 - UPPER) / family) * np.std(values, ddof=1) / np.sqrt(count))
    return Interval(value=mean, low=mean - half, high=mean + half)


def draws_of_mean(values: Array, rng: np.random.Generator, draws: int) -> Array:
    """Return draws of the mean of replications, shape (draws, points), for values of shape (n >= 2, points)."""
    count = len(values)
    mean = values.mean(axis=0)
    scale = np.sqrt(rng.chisquare(count - 1, size=(draws, 1)) / (count - 1))
    moved = rng.standard_normal((draws, count)) @ (values - mean) / np.sqrt(count * (count - 1))
    return np.asarray(mean + moved / scale)
