"""A number on this host, and what the draws say of another host of this kind: both are named, neither is moved.

The fitted values are those of the host that was measured; the draws also have the drift between runs of such a host, so
the two have different middles and the first may lie outside the central 90 % of the second.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppdsim.answers import ALL_EQUAL, NEARLY_EQUAL, NOT_DRAWN, SPREAD, HostInterval
from ppdsim.cost.base import Array
from ppdsim.metrics import interval_90, quantile


def host_interval(this_host: float, draws: Array | Sequence[float]) -> HostInterval:
    """Return a number with the median and the central 90 % of its draws, which may be infinite.

    >>> host_interval(3.9, [4.0, 5.0, 6.0]).value
    5.0
    >>> host_interval(float("inf"), [float("inf")] * 3).draws
    'all equal'
    """
    known = np.asarray(draws, dtype=np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return HostInterval(this_host=this_host, value=this_host, low=None, high=None, draws=NOT_DRAWN)
    middle = float(quantile(known, 0.5))
    low, high = map(float, interval_90(known))
    if low == high:
        what = ALL_EQUAL if bool(np.all(known == known[0])) else NEARLY_EQUAL
        return HostInterval(this_host=this_host, value=middle, low=None, high=None, draws=what)
    return HostInterval(this_host=this_host, value=middle, low=low, high=high, draws=SPREAD)
