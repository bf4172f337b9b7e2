"""Waits that the idle model lacks: Pollaczek-Khinchine for a FIFO server, and the wait for a step boundary.

::

    W = rate E[S^2] / (2 (1 - rate E[S]))                                                  (M/G/1)
    W_step = 1.5 T_step      (residual of the running step, and the step already launched behind it)

What they do not know: correlation between successive stages, several requests in one forward, finite queues.
Sources: Kleinrock, Queueing Systems I, (5.61); SGLang 0.5.17 scheduler.py, event_loop_overlap.
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


def step_wait_s(step_s: float, residents: int, *, overlap_schedule: bool = True) -> float:
    """Return the mean wait [s] of an append for its turn between decode steps; 0 at an idle server.

    >>> step_wait_s(0.006, 4), step_wait_s(0.006, 4, overlap_schedule=False), step_wait_s(0.006, 0)
    (0.009000000000000001, 0.003, 0.0)
    """
    if residents == 0:
        return 0.0
    return step_s * (1.5 if overlap_schedule else 0.5)
