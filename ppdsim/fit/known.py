"""Numbers that a run may lack: what is known of them, or None. A missing number is never 0.

A column of cells holds nan where no repeat had the number. `max`, `min` and numpy's nan-functions take such a hole for
a number, or drop it without a word; here it comes out as None, which a caller has to answer.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ppdsim.cost.base import Array
from ppdsim.metrics import median


def known(values: Iterable[float | None]) -> Array:
    """Return the values that are finite numbers.

    >>> known([1.0, None, float("nan"), 2.0])
    array([1., 2.])
    """
    found = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return found[np.isfinite(found)]


def median_of_known(values: Iterable[float | None]) -> float | None:
    """Return the median of the values that are finite numbers, None without any.

    >>> median_of_known([1.0, float("nan"), 3.0]), median_of_known([None, float("nan")])
    (2.0, None)
    """
    found = known(values)
    return median(found) if len(found) else None


def or_nan(value: float | None) -> float:
    """Return what a column of cells holds for a number that may be missing."""
    return float("nan") if value is None else value
