"""The largest rate that keeps a promise, by bracketing and bisection.

::

    double from `start` while kept (halve while broken), then bisect in the logarithm until high <= low (1 + tolerance)

A promise may be broken at a low rate and kept at a higher one (queues, caches and batches all move). Rates below the
answer are therefore asked as well, and when one is broken the search goes on below it: the answer is the largest rate
at which the promise is kept, at it and at all lower rates that were asked. The number of questions is bounded: the rate
stays within a factor `REACH` of `start`, and what is below that is "none", what is above "at least".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ppdsim.capacity_result import Kind

REACH = 1024.0
"""Largest factor between the rate to start from and one that is tried [1]."""
ASKED_BELOW = (0.9, 0.75, 0.5)
"""Shares of the answer at which the promise is asked again [1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateBracket:
    """Largest rate that was kept (0 if none) and smallest that was not (inf if none), above all that were kept."""

    kind: Kind
    low: float
    high: float


def search(keeps: Callable[[float], bool], start: float, *, tolerance: float, step: float = 2.0) -> RateBracket:
    """Return the bracket of the largest rate at which `keeps` holds; `step` is the first factor of the bracketing.

    >>> found = search(lambda rate: rate <= 3.0, 1.0, tolerance=0.01)
    >>> found.low <= 3.0 < found.high <= 1.01 * found.low
    True
    """
    asked: dict[float, bool] = {}

    def ask(rate: float) -> bool:
        if rate not in asked:
            asked[rate] = keeps(rate)
        return asked[rate]

    low, high = 0.0, math.inf
    rate = start
    while start / REACH <= rate <= start * REACH:
        if ask(rate):
            low = max(low, rate)
            rate *= step
        else:
            high = min(high, rate)
            rate /= step
        if low and high < math.inf:
            break
        step = min(step * step, 2.0)
    while low and high < math.inf:
        low, high = _bisect(ask, low, high, tolerance)
        broken = next((low * share for share in ASKED_BELOW if not ask(low * share)), None)
        if broken is None:
            return RateBracket(kind="rate", low=low, high=high)
        high = broken
        low = max((rate for rate, kept in asked.items() if kept and rate < high), default=0.0)
        if not low:
            low = _descend(ask, high, start / REACH)
    if low:
        return RateBracket(kind="at least", low=low, high=math.inf)
    return RateBracket(kind="none", low=0.0, high=min(asked))


def _bisect(ask: Callable[[float], bool], low: float, high: float, tolerance: float) -> tuple[float, float]:
    while high > low * (1.0 + tolerance):
        middle = math.sqrt(low * high)
        if ask(middle):
            low = middle
        else:
            high = middle
    return low, high


def _descend(ask: Callable[[float], bool], high: float, floor: float) -> float:
    rate = high / 2.0
    while rate >= floor:
        if ask(rate):
            return rate
        rate /= 2.0
    return 0.0
