"""One NIC: fair shares while several pairs send, FIFO within a pair, never idle while there is something to send."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppdsim.des.clock import Clock
from ppdsim.des.nic import SharedNic, Transfer

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
