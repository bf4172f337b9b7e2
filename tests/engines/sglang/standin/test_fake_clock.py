"""Virtual time: order, waiting for nothing, and noticing what will never happen."""

from __future__ import annotations

import asyncio
import time

import pytest
import virtual_loop
from engines.sglang.standin.virtual_clock import VirtualClock
from virtual_loop import run_virtually

from ppdsim.engines.sglang.standin.clock import LoopClock


def test_calls_of_one_instant_run_in_the_order_of_planning() -> None:
    clock, seen = VirtualClock(), []
    for name, time_s in (("late", 2.0), ("first", 1.0), ("second", 1.0), ("past", -3.0)):
        clock.at(time_s, lambda when, name=name: seen.append((name, when)))
    clock.run()
    assert seen == [("past", 0.0), ("first", 1.0), ("second", 1.0), ("late", 2.0)]
    assert clock.now_s() == 2.0


def test_virtual_clock_stops_where_it_is_told() -> None:
    clock, seen = VirtualClock(), []
    clock.at(1.0, seen.append)
    clock.at(3.0, seen.append)
    clock.run(until_s=2.0)
    assert seen == [1.0]


def test_loop_clock_gives_planned_times_and_scales() -> None:
    async def go() -> tuple[list[float], float]:
        loop = asyncio.get_running_loop()
        clock, seen = LoopClock(loop, scale=4.0, origin_s=loop.time()), []
        for time_s in (0.5, 0.25, 0.5):
            clock.at(time_s, seen.append)
        await asyncio.sleep(2.5)
        return seen, clock.now_s()

    seen, now_s = run_virtually(go())
    assert seen == [0.25, 0.5, 0.5]
    assert now_s == pytest.approx(2.5 / 4.0)


def test_scale_must_be_positive() -> None:
    loop = asyncio.new_event_loop()
    with pytest.raises(ValueError, match="time scale"):
        LoopClock(loop, scale=0.0)
    loop.close()


def test_an_hour_of_virtual_time_costs_nothing() -> None:
    async def go() -> float:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(7200.0), 3600.0)
        return loop.time() - begin_s

    begin_s = time.monotonic()
    assert run_virtually(go()) == pytest.approx(3600.0, abs=1e-6)
    assert time.monotonic() - begin_s < 2.0


def test_a_wait_that_nothing_ends_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_loop, "STUCK_S", 0.05)

    async def go() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="no timer brings"):
        run_virtually(go())
