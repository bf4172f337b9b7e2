"""Time for the stand-in's cores that jumps from event to event."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from ppdsim.engines.sglang.standin.clock import AbstractClock


class VirtualClock(AbstractClock):
    """Time that passes only in `run`, from one planned call to the next."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._count = itertools.count()
        self._calls: list[tuple[float, int, Callable[[float], None]]] = []

    def now_s(self) -> float:
        """Return the time of the call that runs, or ran last [s]."""
        return self._now_s

    def at(self, time_s: float, call: Callable[[float], None]) -> None:
        """Plan a call."""
        heapq.heappush(self._calls, (max(time_s, self._now_s), next(self._count), call))

    def run(self, until_s: float = float("inf")) -> None:
        """Make every planned call up to `until_s`, and those that they plan."""
        while self._calls and self._calls[0][0] <= until_s:
            self._now_s, _, call = heapq.heappop(self._calls)
            call(self._now_s)
