"""The wait that the idle model lacks where turns meet turns: Pollaczek-Khinchine for a FIFO server.

::

    W = rate E[S^2] / (2 (1 - rate E[S]))                                                  (M/G/1)

Not modelled: correlation between successive stages, several requests in one forward, finite queues.
The wait for a step of the streams that decode: `TurnModel.step_wait_s`. Source: Kleinrock, Queueing Systems I, (5.61).
"""

from __future__ import annotations

import numpy as np

from ppdsim.cost.base import Array


def mg1_wait_s(rate_per_s: float, mean_s: Array | float, mean_square_s2: Array | float | None = None) -> Array:
    """Return the mean wait [s] of an M/G/1 queue; inf where it is saturated.

    Without `mean_square_s2` every service takes `mean_s` (M/D/1). Arrays are element by element.

    >>> mg1_wait_s(0.5, 1.0).item(), mg1_wait_s(0.5, 1.0, 2.0).item(), mg1_wait_s(2.0, 1.0).item()
    (0.5, 1.0, inf)
    """
    mean = np.asarray(mean_s, dtype=np.float64)
    square = mean**2 if mean_square_s2 is None else np.asarray(mean_square_s2, dtype=np.float64)
    load = np.asarray(rate_per_s * mean)
    room = np.where(load < 1.0, 1.0 - load, np.nan)
    return np.where(load < 1.0, rate_per_s * square / (2.0 * room), np.inf)
