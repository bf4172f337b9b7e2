"""Means over a few seeds, and differences of runs that share their conversations, with Student's t intervals.

::

    mean +- t(1 - alpha / 2, n - 1) * s / sqrt(n),      alpha divided by the number of intervals that must all hold

Runs of one seed meet the same conversations, so their difference lacks the noise that both share; that is what common
random numbers are for. Dividing alpha (Bonferroni) keeps the promise when the best of several is picked first and
judged then. What it does not know: a distribution over seeds that is far from normal, which a few seeds cannot show.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

ALPHA = 0.1
"""Chance that an interval, or one of a family that is asked for together, misses [1]."""


def interval(values: Sequence[float], *, family: int = 1) -> tuple[float, float, float]:
    """Return the mean of `values`, one a seed, and the ends of its interval.

    Parameters
    ----------
    values
        At least two.
    family
        How many such intervals must hold at once.

    Raises
    ------
    ValueError
        If there are fewer than two values.

    Examples
    --------
    >>> mean, low, high = interval([1.0, 2.0, 3.0])
    >>> round(mean, 3), round(low, 3), round(high, 3)
    (2.0, 0.314, 3.686)
    """
    count = len(values)
    if count < 2:
        raise ValueError(f"given {count} values, expected at least 2")
    mean = float(np.mean(values))
    quantile = float(stdtrit(count - 1, 1.0 - ALPHA / (2.0 * family)))
    half = quantile * float(np.std(values, ddof=1)) / count**0.5
    return mean, mean - half, mean + half
