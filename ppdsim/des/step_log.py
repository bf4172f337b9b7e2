"""The decode steps of one node, run by run: enough to rebuild every token's time after the simulation.

A row is a run of steps without a change: ``n`` steps from `start`, of which the first j last ``j (p + h j)``. The
tokens of a row's last step may come `late`: the host was launching a forward when it ended (or early, where it was done
sooner). No row is of one token.
"""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray


class StepLog:
    """Rows (start [s], steps, p [s], h [s], late [s])."""

    __slots__ = ("_h", "_late", "_p", "_start", "_steps")

    def __init__(self) -> None:
        self._start, self._p, self._h, self._late = array("d"), array("d"), array("d"), array("d")
        self._steps = array("l")

    def add(self, start: float, steps: int, p: float, h: float) -> None:
        """Log `steps` steps from `start`."""
        self._start.append(start)
        self._steps.append(steps)
        self._p.append(p)
        self._h.append(h)
        self._late.append(0.0)

    def delay(self, late_s: float) -> None:
        """Let the tokens of the last step that was logged come `late_s` after its end."""
        self._late[-1] = late_s

    def __len__(self) -> int:
        return len(self._steps)

    def late_s(self) -> NDArray[np.float64]:
        """Return how late after the end of each step its tokens came [s], shape (steps + 1,)."""
        steps = np.frombuffer(self._steps, dtype=np.dtype("l")) if self._steps else np.zeros(0, dtype=np.int64)
        late = np.zeros(int(steps.sum()) + 1)
        late[np.cumsum(steps)] = np.frombuffer(self._late) if self._late else np.zeros(0)
        return late

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
