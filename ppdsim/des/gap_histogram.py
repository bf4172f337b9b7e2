"""All gaps between tokens of a run in bounded memory: bins of equal ratio, each remembered by its sum and its count.

::

    bin(gap) = floor(ln(gap / FLOOR_S) / ln(1 + WIDTH))

A bin stands for the mean of what fell into it, so a mean over all gaps is exact, a gap that is alone in its bin is
exact, and a percentile is off by at most `WIDTH` of itself. The largest gap is kept by itself. There are bins from the
shortest gap to the longest only: 16 bytes each, 1 MB from 1 ms to 1 s.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WIDTH = 1e-4
"""Width of a bin as a share of the gap [1]: what a percentile may be off by."""
FLOOR_S = 1e-9
"""Shorter gaps share the first bin [s]."""


class GapHistogram:
    """Gaps with how many streams felt each."""

    __slots__ = ("_counts", "_first", "_longest_s", "_sums_s")

    def __init__(self) -> None:
        self._first = 0  # The bin that the first row of both arrays is.
        self._sums_s, self._counts = np.zeros(0), np.zeros(0)
        self._longest_s = -math.inf

    def add(self, gaps_s: Array, counts: Array) -> None:
        """Count gaps, each as often as `counts` says [s]; those that nobody felt may be NaN."""
        felt = counts > 0
        gaps_s, counts = gaps_s[felt], counts[felt]
        if not len(gaps_s):
            return
        self._longest_s = max(self._longest_s, float(gaps_s.max()))
        bins = (np.log(np.maximum(gaps_s, FLOOR_S) / FLOOR_S) / math.log1p(WIDTH)).astype(np.int64)
        low, end = int(bins.min()), int(bins.max()) + 1
        self._hold(low, end)
        span = slice(low - self._first, end - self._first)
        bins -= low
        self._counts[span] += np.bincount(bins, counts)
        self._sums_s[span] += np.bincount(bins, counts * gaps_s)

    def columns(self) -> tuple[Array, Array]:
        """Return the gaps [s], in order, and how often each was felt."""
        used = np.flatnonzero(self._counts)
        if not len(used):
            return np.zeros(0), np.zeros(0)
        sums_s, counts = self._sums_s[used], self._counts[used]
        sums_s[-1] -= self._longest_s
        counts[-1] -= 1.0
        below = counts > 0
        gaps_s = np.append(sums_s[below] / counts[below], self._longest_s)
        return gaps_s, np.append(counts[below], 1.0)

    def _hold(self, low: int, end: int) -> None:
        """Make room for the bins from `low` to before `end`."""
        held = len(self._counts)
        if not held:
            self._first = low
        before, after = max(self._first - low, 0), max(end - self._first - held, 0)
        if before or after:
            self._sums_s = np.pad(self._sums_s, (before, after))
            self._counts = np.pad(self._counts, (before, after))
            self._first -= before
