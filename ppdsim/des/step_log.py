"""The decode steps of one node, run by run: enough to rebuild every token's time after the simulation.

A row is a run of steps without a change: ``n`` steps from `start`, of which the first j last ``j (p + h j)``. Nothing
is logged per token.
"""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray


class StepLog:
    """Rows (start [s], steps, p [s], h [s])."""

    __slots__ = ("_h", "_p", "_start", "_steps")

    def __init__(self) -> None:
        self._start, self._p, self._h = array("d"), array("d"), array("d")
        self._steps = array("l")

    def add(self, start: float, steps: int, p: float, h: float) -> None:
        """Log `steps` steps from `start`."""
        self._start.append(start)
        self._steps.append(steps)
        self._p.append(p)
        self._h.append(h)

    def __len__(self) -> int:
        return len(self._steps)

    def ends_s(self) -> NDArray[np.float64]:
        """Return the end of every step [s], shape (steps + 1,); entry 0 belongs to no step."""
        steps = np.frombuffer(self._steps, dtype=np.dtype("l")) if self._steps else np.zeros(0, dtype=np.int64)
        total = int(steps.sum())
        j = np.arange(1, total + 1, dtype=np.float64) - np.repeat(np.cumsum(steps) - steps, steps)
        start, p, h = (
            np.repeat(np.frombuffer(column) if column else np.zeros(0), steps)
            for column in (self._start, self._p, self._h)
        )
        return np.concatenate(([np.nan], start + j * (p + h * j)))
