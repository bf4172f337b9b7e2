"""SimPy as the clock: handlers called at planned times, in a fixed order, with a limit on events per instant.

A tick is what SimPy needs of an event and no more (simulator-speed: C2). It is a new object for every use, because
SimPy empties its callbacks. It carries its planned time, because the queue's own may lie one rounding error beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import simpy
from simpy.core import EmptySchedule

BOUNDARY = 2**60
"""Priority of step boundaries and ends of forwards, plus the node's number. What concerns a turn has the turn's number
as its priority: at one instant it comes first, so it belongs to that boundary, and turns come in their order."""

IN_TURN = 2**59
"""Priority of what joins a queue in the order in which it was planned: behind what is a turn's, before boundaries."""

FIRST = -1
"""Priority of the end of a run: it comes before what else happens at that instant."""


class Tick:
    """One planned call of a handler."""

    __slots__ = ("arg", "callbacks", "time")
    _ok = True

    callbacks: tuple[Callable[[Tick], None], ...]
    time: float
    arg: Any


Handler: TypeAlias = Callable[[Tick], None]


class TooManyEventsError(RuntimeError):
    """Time stands still: a defect of the model, never of its input."""


class _Stop(Exception):
    """Ends the run; no error."""


class Clock:
    """Time, and what happens next."""

    __slots__ = ("_environment", "_schedule", "events", "limit_per_instant")

    def __init__(self, limit_per_instant: int) -> None:
        self._environment = simpy.Environment()
        # A tick is no simpy Event, and a priority need not be one of simpy's two.
        self._schedule: Any = self._environment.schedule
        self.events = 0
        self.limit_per_instant = limit_per_instant

    def at(self, time: float, handler: Handler, arg: Any, priority: int) -> Tick:
        """Call `handler` at `time`; of equal times lower priority first, then first planned first.

        Raises
        ------
        ValueError
            If `time` lies before the present by more than rounding.
        """
        tick = Tick()
        tick.callbacks = (handler,)
        tick.time = time
        tick.arg = arg
        delay = time - self._environment.now
        if delay < 0.0:
            if delay < -1e-9 * (1.0 + abs(time)):
                raise ValueError(f"planned at {time}, in the past of {self._environment.now}")
            delay = 0.0
        self._schedule(tick, priority, delay)
        return tick

    @property
    def now(self) -> float:
        """Time of the event that is being handled, or was last [s]."""
        return float(self._environment.now)

    def stop(self) -> None:
        """End the run after the event that is being handled."""
        self.at(self._environment.now, _stop, None, FIRST)

    def run(self, until_s: float) -> None:
        """Run until nothing is planned, or until `until_s`.

        Raises
        ------
        TooManyEventsError
            If `limit_per_instant` events fall on one instant (some runs of fewer than twice as many are let through).
        """
        environment, limit = self._environment, self.limit_per_instant
        step = environment.step
        if not math.isinf(until_s):
            self.at(until_s, _stop, None, FIRST)
        ran = 0
        try:
            # Time is looked at once in so many events, not at every one.
            while True:
                before = environment.now
                for ran in range(limit):  # noqa: B007
                    step()
                self.events += limit
                ran = 0
                if environment.now == before:
                    raise TooManyEventsError(f"{limit} events and more at {before} s")
        except (EmptySchedule, _Stop):
            pass
        finally:
            self.events += ran


def _stop(_: Tick) -> None:
    raise _Stop
