"""Waits that the idle model lacks: Pollaczek-Khinchine for a FIFO server, and the wait for a step boundary.

::

    W = rate E[S^2] / (2 (1 - rate E[S]))                                                  (M/G/1)
    W_step = 1.5 T_step      (residual of the running step, and the step already launched behind it)

What they do not know: correlation between successive stages, several requests in one forward, finite queues.
Sources: Kleinrock, Queueing Systems I, (5.61); SGLang 0.5.17 scheduler.py, event_loop_overlap.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mg1_wait_s(rate_per_s: float, service_s: Sequence[float]) -> float:
    """Return the mean wait [s] of an M/G/1 queue whose service times are equally likely; inf when it is saturated.

    >>> mg1_wait_s(0.5, [1.0])
    0.5
    >>> mg1_wait_s(2.0, [1.0])
    inf
    """
    service = np.asarray(service_s, dtype=np.float64)
    load = rate_per_s * float(service.mean())
    if load >= 1.0:
        return float("inf")
    return rate_per_s * float(np.mean(service**2)) / (2.0 * (1.0 - load))


def step_wait_s(step_s: float, residents: int, *, overlap_schedule: bool = True) -> float:
    """Return the mean wait [s] of an append for its turn between decode steps; 0 at an idle server.

    >>> step_wait_s(0.006, 4), step_wait_s(0.006, 4, overlap_schedule=False), step_wait_s(0.006, 0)
    (0.009000000000000001, 0.003, 0.0)
    """
    if residents == 0:
        return 0.0
    return step_s * (1.5 if overlap_schedule else 0.5)
