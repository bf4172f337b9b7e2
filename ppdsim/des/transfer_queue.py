"""Hand-offs that have their pages on D and wait for their KV; each fails after a timeout.

One whose KV has not come within `timeout_s` of its admission fails (SGLANG_DISAGGREGATION_WAITING_TIMEOUT): D gives its
pages back and tells P, which drops it if no forward of it has begun, and else computes it to the end and sends nothing
more. Source: SGLang 0.5.17, disaggregation/common/conn.py _check_waiting_timeout, disaggregation/prefill.py
resolve_waiting_queue_bootstrap. As admissions are in order of time, one look at the oldest at a time is enough.

Not modelled: that the engine looks at its clock once a step only.
"""

from __future__ import annotations

from collections.abc import Callable

from ppdsim.des.clock import Clock, Tick


class TransferQueue:
    """The hand-offs of a fleet that wait for their KV.

    Parameters
    ----------
    failed : callable
        Called with a hand-off that has waited too long, and the time.
    """

    __slots__ = ("_clock", "_failed", "_looking", "_timeout_s", "_waiting")

    def __init__(self, clock: Clock, timeout_s: float, failed: Callable[[int, float], None]) -> None:
        self._clock, self._timeout_s, self._failed = clock, timeout_s, failed
        self._waiting: dict[int, float] = {}  # by turn, in order of admission: until when it waits
        self._looking = False

    def admitted(self, turn: int, time: float) -> None:
        """Let a hand-off wait from now on."""
        self._waiting[turn] = time + self._timeout_s
        if not self._looking:
            self._look(turn)

    def arrived(self, turn: int) -> bool:
        """Take a hand-off out whose KV is there; return whether D still waited for it."""
        return self._waiting.pop(turn, None) is not None

    def _look(self, oldest: int) -> None:
        self._looking = True
        self._clock.at(self._waiting[oldest], self._expire, None, oldest)

    def _expire(self, tick: Tick) -> None:
        waiting = self._waiting
        while waiting:
            oldest = next(iter(waiting))
            if waiting[oldest] > tick.time:
                self._look(oldest)
                return
            del waiting[oldest]
            self._failed(oldest, tick.time)
        self._looking = False
