"""The time that a stand-in engine lives in: an event loop's, scaled or not.

An engine asks for the time and plans calls; it never sleeps. A call is given the time that it was planned for, which
on a loop lies a little before the time that it runs: an engine that reckons with planned times accumulates no lateness.
Calls planned for one instant run in the order in which they were planned. On a scaled clock `scale` seconds pass in the
world while one passes in the engine.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable


class AbstractClock(ABC):
    """Time [s] and calls planned in it."""

    @abstractmethod
    def now_s(self) -> float:
        """Return the engine's time [s]."""

    @abstractmethod
    def at(self, time_s: float, call: Callable[[float], None]) -> None:
        """Plan a call with its time; one that is due already runs soon, never at once."""


class LoopClock(AbstractClock):
    """Time of an asyncio event loop, counted from `origin_s` on the loop's clock.

    Two processes of one host that use the same origin and scale agree on the time, because both loops read the
    machine's monotonic clock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, scale: float = 1.0, origin_s: float = 0.0) -> None:
        if scale <= 0.0:
            raise ValueError(f"time scale {scale:g}, expected a positive number")
        self._loop = loop
        self._scale = scale
        self._origin_s = origin_s
        # The loop does not order calls of one instant, so that is done here.
        self._count = itertools.count()
        self._calls: list[tuple[float, int, Callable[[float], None]]] = []

    def now_s(self) -> float:
        """Return the engine's time [s]."""
        return (self._loop.time() - self._origin_s) / self._scale

    def at(self, time_s: float, call: Callable[[float], None]) -> None:
        """Plan a call on the loop."""
        heapq.heappush(self._calls, (time_s, next(self._count), call))
        self._loop.call_at(self._origin_s + time_s * self._scale, self._due)

    def _due(self) -> None:
        # One wake-up for each planned call: the earliest one left is at most as late as the one it was made for.
        time_s, _, call = heapq.heappop(self._calls)
        call(time_s)
