"""Intervals over replications: Student's t for a mean of independent runs, and joint draws of a whole line of means.

::

    mean +- t(0.95, n - 1) s / sqrt(n)                                   the 90 % interval of n replications
    mean +- t(1 - 0.05 / k, n - 1) s / sqrt(n)                           k such intervals that hold at once
    draw = mean + sum_i z_i (x_i - mean) / sqrt(n (n - 1)) / sqrt(c / (n - 1)),  z ~ N(0, 1), c ~ chi2(n - 1)

A bound that cannot be (a negative time, a share beyond 1) is no bound. So the interval of a quantity with limits is
taken on a scale f without limits, where its width is that of the mean times the slope there (the delta method)::

    f^-1( f(mean) +- t s |f'(mean)| / sqrt(n) )
    times, rates        f = ln        mean exp(+- t s / (sqrt(n) mean))
    shares              f = logit     from 0 to 1
    their differences   f = artanh    from -1 to 1

Where replications are parts of one run, the number is that of the whole run and not their mean (which for a percentile
is another), and s is taken about it: sectioning. A draw moves all points of a line together, as one seed did, and at
each point alone has the distribution of the plain interval above; a crossing's interval comes from the crossings of
the draws. Differences of paired runs go in as they are: what both runs share has then left the spread.

Equal values have no interval: they are equal runs, or too few to tell how a run varies.

Not modelled: that few seeds may all be alike by chance, and any error of the profile or the model.

Sources: Law, Simulation Modeling and Analysis, chapters 9.4 (replications) and 10.2 (paired t); Asmussen and Glynn,
Stochastic Simulation, chapters III.3 (delta method) and III.5 (sectioning).
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit, stdtrit

from ppdsim.answers import Interval
from ppdsim.cost.base import Array
from ppdsim.metrics import Scale

UPPER = 0.95
"""Upper end of the central 90 % [1]."""
LARGEST_EXPONENT = 600.0
"""Logarithm of the largest ratio between an end of an interval and its middle [1]."""
ALIKE = 1e-9
"""Values that differ by less than this share of the largest are equal but for rounding [1]."""


def mean_interval(
    values: Array, *, scale: Scale = Scale.REAL, whole: float | None = None, family: int = 1
) -> Interval | None:
    """Return the mean of replications, shape (n,), with its 90 % interval; None for fewer than two, or equal ones.

    Parameters
    ----------
    scale
        What values the quantity can have; the interval keeps to them.
    whole
        The number of the run that the values are parts of, in place of their mean.
    family
        Of so many such intervals, all hold at once with 90 % (Bonferroni); this keeps the promise when the best of
        several is picked first and judged then.

    >>> found = mean_interval(np.array([1.0, 3.0]))
    >>> found.value, round(found.low, 6), round(found.high, 6)
    (2.0, -4.313752, 8.313752)
    >>> found = mean_interval(np.array([1.0, 3.0]), scale=Scale.POSITIVE)
    >>> found.value, round(found.low, 4), round(found.high, 4)
    (2.0, 0.0851, 46.9941)
    """
    if not differ(values):
        return None
    count, middle = len(values), float(np.mean(values)) if whole is None else whole
    spread = np.sqrt(np.sum((values - middle) ** 2) / (count - 1) / count)
    half = float(stdtrit(count - 1, 1.0 - (1.0 - UPPER) / family) * spread)
    low, high = _ends(middle, half, scale)
    return Interval(value=middle, low=low, high=high)


def differ(values: Array) -> bool:
    """Return whether replications, shape (n,) or (n, points), show any spread: at least two, not all equal."""
    return bool(len(values)) and bool(np.any(np.ptp(values, axis=0) > ALIKE * np.max(np.abs(values))))


def _ends(middle: float, half: float, scale: Scale) -> tuple[float, float]:
    """Return the ends of an interval about `middle` that is `half` to either side where the scale has no limits."""
    steps = np.array([-half, half])
    if scale is Scale.POSITIVE and middle > 0.0:
        ends = middle * np.exp(np.minimum(_quotient(steps, middle), LARGEST_EXPONENT))
    elif scale is Scale.SHARE and 0.0 < middle < 1.0:
        ends = expit(logit(middle) + _quotient(steps, middle * (1.0 - middle)))
    elif scale is Scale.SHARE_DIFFERENCE and -1.0 < middle < 1.0:
        ends = np.tanh(np.arctanh(middle) + _quotient(steps, 1.0 - middle**2))
    elif scale is Scale.REAL:
        ends = middle + steps
    else:
        # The number of the whole run lies at a limit of the scale, and its parts do not: no slope there.
        ends = np.clip(middle + steps, *LIMITS[scale])
    return float(ends[0]), float(ends[1])


def _quotient(steps: Array, divisor: float) -> Array:
    """Return the quotient, infinite where a part of the run is that far from a whole that is next to nothing."""
    with np.errstate(over="ignore"):
        return np.asarray(steps / divisor)


LIMITS = {Scale.POSITIVE: (0.0, np.inf), Scale.SHARE: (0.0, 1.0), Scale.SHARE_DIFFERENCE: (-1.0, 1.0)}
"""Smallest and largest value of each scale that has any."""


def draws_of_mean(values: Array, rng: np.random.Generator, draws: int, *, whole: Array | None = None) -> Array:
    """Return draws of the mean of replications, shape (draws, points), for values of shape (n >= 2, points).

    `whole`, shape (points,), is the line of the run that the values are parts of, in place of their mean.
    """
    count = len(values)
    mean = values.mean(axis=0) if whole is None else whole
    scale = np.sqrt(rng.chisquare(count - 1, size=(draws, 1)) / (count - 1))
    moved = rng.standard_normal((draws, count)) @ (values - mean) / np.sqrt(count * (count - 1))
    return np.asarray(mean + moved / scale)
