"""Hand-offs that wait for pages on D: first come first served; each fails after a timeout.

A request that is not served within `timeout_s` fails (SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT). As requests are in
order of age, one look at the oldest at a time is enough, so a queue that moves costs no event a turn. The second
timeout, of a hand-off that has its pages: :mod:`ppdsim.des.transfer_queue`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ppdsim.des.clock import Clock, Tick


class HandoffQueue:
    """The requests of one decode node.

    Parameters
    ----------
    failed : callable
        Called with a request that has waited too long, and the time.
    moved : callable
        Called with the time when such requests have gone and others are left, whose head may fit.

    Attributes
    ----------
    waiting : deque of (int, float)
        Turns, oldest first, and until when they wait; to be read only.
    """

    __slots__ = ("_clock", "_failed", "_looking", "_moved", "_timeout_s", "waiting")

    def __init__(
        self, clock: Clock, timeout_s: float, failed: Callable[[int, float], None], moved: Callable[[float], None]
    ) -> None:
        self._clock, self._timeout_s = clock, timeout_s
        self._failed, self._moved = failed, moved
        self.waiting: deque[tuple[int, float]] = deque()
        self._looking = False

    def add(self, turn: int, time: float) -> None:
        """Queue a request."""
        self.waiting.append((turn, time + self._timeout_s))
        if not self._looking:
            self._look()

    def pop(self) -> None:
        """Take the oldest request out: it has its pages."""
        self.waiting.popleft()

    def _look(self) -> None:
        turn, deadline_s = self.waiting[0]
        self._looking = True
        self._clock.at(deadline_s, self._expire, None, turn)

    def _expire(self, tick: Tick) -> None:
        waiting, before = self.waiting, len(self.waiting)
        while waiting and waiting[0][1] <= tick.time:
            self._failed(waiting.popleft()[0], tick.time)
        self._looking = False
        if waiting:
            self._look()
            if len(waiting) < before:
                self._moved(tick.time)
