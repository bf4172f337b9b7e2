"""The decode steps of one node, run by run: enough to rebuild every token's time after the simulation.

A row is a run of steps without a change: ``n`` steps from `start`, of which the first j last ``j (p + h j)``. The
tokens of a row's last step may come `late`: the host was launching a forward when it ended (or early, where it was done
sooner). No row is of one token.
Steps count from 1; step 0 belongs to no row.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class StepLog:
    """Rows (start [s], last step, p [s], h [s]), and which of them are late by how much [s].

    `steps` is the last step logged. Steps before those that were forgotten cannot be asked for.
    """

    __slots__ = ("_forgotten", "_h", "_late", "_late_steps", "_p", "_start", "_until", "steps")

    def __init__(self) -> None:
        self._start, self._p, self._h = array("d"), array("d"), array("d")
        self._until = array("q")
        self._late_steps, self._late = array("q"), array("d")
        self._forgotten = 0  # the last step that was dropped
        self.steps = 0

    def add(self, start: float, steps: int, p: float, h: float) -> None:
        """Log `steps` steps from `start`."""
        self.steps += steps
        self._start.append(start)
        self._until.append(self.steps)
        self._p.append(p)
        self._h.append(h)

    def delay(self, late_s: float) -> None:
        """Let the tokens of the last step that was logged come `late_s` after its end."""
        self._late_steps.append(self.steps)
        self._late.append(late_s)

    def forget(self, step: int) -> None:
        """Drop the rows that end before `step`: nobody will ask for their steps again."""
        rows = bisect_left(self._until, step)
        if rows:
            self._forgotten = self._until[rows - 1]
            # New arrays: one that a profiler of frames (dask's workers have one) still looks at cannot be resized.
            self._start, self._until = self._start[rows:], self._until[rows:]
            self._p, self._h = self._p[rows:], self._h[rows:]
        late = bisect_left(self._late_steps, step)
        if late:
            self._late_steps, self._late = self._late_steps[late:], self._late[late:]

    def __len__(self) -> int:
        return len(self._until)

    def late_s(self, first: int, last: int) -> Array:
        """Return how late after the end of each of the steps `first` to `last` its tokens came [s]."""
        late = np.zeros(last - first + 1)
        at = _view(self._late_steps)
        low, high = np.searchsorted(at, (first, last + 1))
        late[at[low:high] - first] = _view(self._late)[low:high]
        return late

    def ends_s(self, first: int, last: int) -> Array:
        """Return the ends of the steps `first` to `last` [s]; NaN for step 0."""
        until = _view(self._until)
        low, high = np.searchsorted(until, (first, last))
        rows = slice(low, high + 1)
        # A row has the steps after the one before it.
        before = np.concatenate(([until[low - 1] if low else self._forgotten], until[rows]))
        asked = np.minimum(before, last)
        asked[0] = first - 1
        asked = np.diff(asked)
        start, p, h, before = (
            np.repeat(column, asked)
            for column in (*(_view(column)[rows] for column in (self._start, self._p, self._h)), before[:-1])
        )
        step = np.arange(first, last + 1)
        j = step - before
        ends: Array = start + j * (p + h * j)
        ends[step == 0] = np.nan
        return ends


def _view(column: array[Any]) -> NDArray[Any]:
    """Return a column without copying it; an empty one has no memory to look at."""
    return np.frombuffer(column, dtype=column.typecode) if column else np.zeros(0, dtype=column.typecode)
