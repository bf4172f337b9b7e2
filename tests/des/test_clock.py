"""The clock: order at one instant, no way back, no standing still."""

from __future__ import annotations

import math

import pytest

from ppdsim.des.clock import BOUNDARY, Clock, TooManyEventsError


def test_at_one_instant_turns_come_before_boundaries_and_in_their_order():
    clock, seen = Clock(limit_per_instant=10), []
    for name, time, priority in (("node", 1.0, BOUNDARY + 1), ("turn 7", 1.0, 7), ("turn 3", 1.0, 3), ("past", 0.5, 9)):
        clock.at(time, lambda tick: seen.append((tick.arg, tick.time)), name, priority)
    clock.run(math.inf)
    assert seen == [("past", 0.5), ("turn 3", 1.0), ("turn 7", 1.0), ("node", 1.0)]
    assert clock.events == 4


def test_of_equal_priority_what_was_planned_first_comes_first():
    clock, seen = Clock(limit_per_instant=10), []
    for name in "bca":
        clock.at(2.0, lambda tick: seen.append(tick.arg), name, 5)
    clock.run(math.inf)
    assert seen == ["b", "c", "a"]


def test_the_past_is_refused_and_a_rounding_error_is_not():
    clock, seen = Clock(limit_per_instant=10), []

    def late(tick):
        with pytest.raises(ValueError, match="in the past of"):
            clock.at(tick.time - 1e-3, seen.append, None, 0)
        # One rounding error back is now, and the tick keeps the time it was planned for.
        clock.at(math.nextafter(tick.time, 0.0), lambda inner: seen.append(inner.time), None, 0)

    clock.at(3.0, late, None, 0)
    clock.run(math.inf)
    assert seen == [math.nextafter(3.0, 0.0)]


def test_time_that_stands_still_is_an_error():
    clock = Clock(limit_per_instant=100)

    def again(tick):
        clock.at(tick.time, again, None, 0)

    clock.at(1.0, again, None, 0)
    with pytest.raises(TooManyEventsError, match="100 events and more at 1.0 s"):
        clock.run(math.inf)


def test_a_run_ends_at_its_end_or_when_told():
    clock, seen = Clock(limit_per_instant=10), []
    for time in (1.0, 2.0, 3.0):
        clock.at(time, lambda tick: seen.append(tick.time), None, 0)
    clock.run(2.0)
    # The end comes before what else happens at that instant.
    assert seen == [1.0]

    told, seen_by_told = Clock(limit_per_instant=10), []

    def stop(tick):
        seen_by_told.append(tick.time)
        told.stop()

    told.at(1.0, stop, None, 0)
    told.at(2.0, stop, None, 0)
    told.run(math.inf)
    assert seen_by_told == [1.0]
