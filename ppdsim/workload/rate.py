"""The rate of a trace: how many of its starts come in a second, the one definition that every command uses.

::

    rate = (n - 1) / (last start - first start)

n starts have n - 1 gaps between them, so the rate does not depend on when the trace's clock began.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim.errors import WorkloadError


def rate_per_s(starts_s: Sequence[float] | NDArray[np.floating[Any]], what: str) -> float:
    """Return the mean rate of starts, given in ascending order [1/s].

    Raises
    ------
    WorkloadError
        If there is no gap between them; the message starts with `what`, the things that arrive.

    Examples
    --------
    >>> rate_per_s([1000.0, 1001.0, 1004.0], "turns"), rate_per_s([0.0, 1.0, 4.0], "turns")
    (0.5, 0.5)
    """
    span_s = float(starts_s[-1] - starts_s[0]) if len(starts_s) else 0.0
    if not 0.0 < span_s < float("inf"):
        raise WorkloadError(f"{what} all arrive at once ({len(starts_s)}), so there is no rate; expected a spread")
    return (len(starts_s) - 1) / span_s
