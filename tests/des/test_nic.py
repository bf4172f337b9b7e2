"""One NIC: fair shares while several pairs send, FIFO within a pair, never idle while there is something to send."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppdsim.des.clock import Clock
from ppdsim.des.nic import SharedNic, Transfer

WAIT_AT_S = 2.0
Sent = tuple[float, int, float]  # time, pair, seconds alone


def ends(transfers: list[Sent]) -> list[float]:
    clock, found = Clock(limit_per_instant=1_000), [0.0] * len(transfers)
    nic = SharedNic(clock)

    def delivered(turn: int, time: float) -> None:
        found[turn] = time

    for number, (time, pair, wire_s) in enumerate(transfers):
        transfer = Transfer(turn=number, wire_s=wire_s, delivered=delivered)
        clock.at(time, lambda tick: nic.send((0, tick.arg[0]), tick.arg[1], tick.time), (pair, transfer), number)
    clock.run(float("inf"))
    return found


def test_equal_transfers_end_together_and_a_short_one_leaves_its_share():
    assert ends([(0.0, 1, 1.0), (0.0, 2, 1.0), (0.0, 3, 1.0)]) == [3.0, 3.0, 3.0]
    # Both at half speed until the short one ends at 2; the other has 2 left then.
    assert ends([(0.0, 1, 3.0), (0.0, 2, 1.0)]) == [4.0, 2.0]


def test_a_pair_sends_one_after_the_other():
    # Pair 1 has 1 + 1, pair 2 has 2: half speed each throughout.
    assert ends([(0.0, 1, 1.0), (0.0, 1, 1.0), (0.0, 2, 2.0)]) == [2.0, 4.0, 4.0]


def test_a_pair_alone_is_the_private_link():
    assert ends([(1.0, 1, 1.0), (1.5, 1, 0.5), (4.0, 1, 0.25)]) == [2.0, 2.5, 4.25]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 4), st.floats(0.0, 1.0)), min_size=1, max_size=12))
def test_the_nic_works_whenever_there_is_work(transfers):
    transfers.sort(key=lambda item: item[0])
    free = 0.0
    for time, _, wire_s in transfers:
        free = max(free, time) + wire_s
    # Sharing does not change when the last byte of a busy period has left: the backlog drains at one second a second.
    assert max(ends(transfers)) == pytest.approx(free, rel=1e-9)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(1, 4), st.floats(0.0, 1.0)), max_size=12),
    st.integers(1, 5),
    st.floats(0.0, 3.0),
)
def test_the_wait_is_by_how_much_one_that_is_sent_now_is_late_if_nobody_follows(transfers, pair, wire_s):
    transfers.sort(key=lambda item: item[0])
    clock, told = Clock(limit_per_instant=1_000), []
    nic = SharedNic(clock)
    for number, (time, other, seconds) in enumerate(transfers):
        transfer = Transfer(turn=number, wire_s=seconds, delivered=None)
        clock.at(time, lambda tick: nic.send((0, tick.arg[0]), tick.arg[1], tick.time), (other, transfer), number)
    clock.at(WAIT_AT_S, lambda tick: told.append(nic.wait_s((0, pair), tick.time, wire_s)), None, 99)
    clock.run(float("inf"))
    end_s = ends([*transfers, (WAIT_AT_S, pair, wire_s)])[-1]
    assert told == [pytest.approx(end_s - WAIT_AT_S - wire_s, abs=1e-9)]


def test_two_flows_on_one_nic_by_hand():
    clock = Clock(limit_per_instant=1_000)
    nic = SharedNic(clock)
    assert nic.wait_s((0, 1), 0.0, 1.0) == 0.0
    nic.send((0, 1), Transfer(turn=0, wire_s=3.0, delivered=None), 0.0)
    nic.send((0, 1), Transfer(turn=1, wire_s=1.0, delivered=None), 0.0)
    # At 1, pair 1 has 2 + 1 left. Its own next waits for both; half a second of another pair takes twice as long, and
    # five seconds of it meet all three.
    assert nic.wait_s((0, 1), 1.0, 0.5) == 3.0
    assert nic.wait_s((0, 2), 1.0, 0.5) == 0.5
    assert nic.wait_s((0, 2), 1.0, 5.0) == 3.0
