"""A router's estimate of the wait: what runs, and what was promised and has not begun."""

from __future__ import annotations

import pytest
from des.costs import cost_model

from ppdsim.des.backlog import Backlog
from ppdsim.des.batching import Piece

CHUNK = 128
CURVE = cost_model().prefill


def test_promises_add_up_and_what_runs_counts_until_its_end():
    backlog = Backlog(CURVE, CHUNK)
    backlog.promise(0, 64, 0)
    backlog.promise(1, 32, 256)
    one, other = CURVE.seconds(64, 0, CHUNK), CURVE.seconds(32, 256, CHUNK)
    assert backlog.wait_s(0.0) == pytest.approx(one + other)
    backlog.forward([Piece(0, 0, 64, first=True, last=True)], [64, 288], end_s=5.0)
    assert backlog.wait_s(4.75) == pytest.approx(0.25 + other)
    backlog.forward([Piece(1, 256, 32, first=True, last=True)], [64, 288], end_s=6.0)
    assert backlog.wait_s(7.0) == 0.0


def test_the_chunks_of_a_long_prompt_that_have_not_begun_still_count():
    backlog = Backlog(CURVE, CHUNK)
    backlog.promise(0, 300, 0)
    backlog.forward([Piece(0, 0, 128, first=True, last=False)], [300], end_s=1.0)
    assert backlog.wait_s(1.0) == pytest.approx(CURVE.seconds(172, 128, CHUNK))
    backlog.forward([Piece(0, 128, 128, first=False, last=False)], [300], end_s=2.0)
    assert backlog.wait_s(2.0) == pytest.approx(CURVE.seconds(44, 256, CHUNK))
    backlog.forward([Piece(0, 256, 44, first=False, last=True)], [300], end_s=3.0)
    assert backlog.wait_s(3.0) == 0.0


def test_a_turn_that_finds_another_prefix_than_promised_leaves_nothing_behind():
    backlog = Backlog(CURVE, CHUNK)
    backlog.promise(0, 64, 256)
    backlog.forward([Piece(0, 0, 128, first=True, last=False)], [320], end_s=1.0)  # the prefix was evicted
    backlog.forward([Piece(0, 128, 128, first=False, last=False)], [320], end_s=2.0)
    backlog.forward([Piece(0, 256, 64, first=False, last=True)], [320], end_s=3.0)
    assert backlog.wait_s(3.0) == 0.0


def test_when_somebody_asks_does_not_change_the_estimate():
    """A run must not depend on whether its decisions are logged."""
    asked, unasked = Backlog(CURVE, CHUNK), Backlog(CURVE, CHUNK)
    for backlog in (asked, unasked):
        for turn in range(40):
            backlog.promise(turn, 1 + 37 * turn % 400, 11 * turn)
            if backlog is asked:
                backlog.wait_s(0.0)
            if turn % 3 == 2:
                backlog.forget(turn - 1)
    assert asked.wait_s(0.0) == unasked.wait_s(0.0) > 0.0
