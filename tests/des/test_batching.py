"""Who shares a prefill forward: first come first served under a budget, one cut request, whole pages."""

from __future__ import annotations

import pytest
from des.costs import cost_model, talk

from ppdsim.des.batching import Piece, PrefillQueue
from ppdsim.des.step_former import forward_s
from ppdsim.des.turns import Turns


def queue(*prompts: int, chunk: int = 100, page: int = 10, most: int = 10_000) -> PrefillQueue:
    turns = Turns([talk(i, float(i), (tokens, 1)) for i, tokens in enumerate(prompts)], None)
    made = PrefillQueue(turns, chunk, page, most)
    made.waiting.extend(range(len(prompts)))
    return made


def nothing_cached(turn: int) -> int:
    return 0


def test_requests_share_a_forward_in_order_until_the_budget_is_spent():
    waiting = queue(30, 40, 50)
    assert waiting.form(nothing_cached) == [
        Piece(0, 0, 30, first=True, last=True),
        Piece(1, 0, 40, first=True, last=True),
        Piece(2, 0, 30, first=True, last=False),
    ]
    assert (waiting.cut, waiting.cut_done) == (2, 30)
    assert waiting.form(nothing_cached) == [Piece(2, 30, 20, first=False, last=True)]
    assert waiting.form(nothing_cached) == []


def test_every_request_takes_whole_pages_of_the_budget():
    # 5 x 11 tokens take 5 x 2 pages.
    assert [piece.turn for piece in queue(*[11] * 6).form(nothing_cached)] == [0, 1, 2, 3, 4]
    # One page is left for a prompt of two.
    assert queue(11, 70, 12).form(nothing_cached)[2] == Piece(2, 0, 10, first=True, last=False)


def test_a_cut_falls_on_a_page_and_less_than_a_page_is_left_unused():
    waiting = queue(35, 100)
    # 60 are left: 6 whole pages.
    assert waiting.form(nothing_cached)[1] == Piece(1, 0, 60, first=True, last=False)
    assert waiting.form(nothing_cached) == [Piece(1, 60, 40, first=False, last=True)]
    assert len(queue(95, 100).form(nothing_cached)) == 1


def test_the_rest_of_a_cut_request_goes_first_and_only_one_is_cut():
    waiting = queue(250, 30, 200)
    sizes = []
    while pieces := waiting.form(nothing_cached):
        sizes.append([(piece.turn, piece.tokens) for piece in pieces])
        assert sum(not piece.last for piece in pieces) <= 1
    assert sizes == [[(0, 100)], [(0, 100)], [(0, 50), (1, 30), (2, 20)], [(2, 100)], [(2, 80)]]


def test_nobody_overtakes_a_head_that_memory_does_not_admit():
    waiting = queue(30, 10)
    assert waiting.form(lambda turn: -1 if turn == 0 else 0) == []
    assert list(waiting.waiting) == [0, 1]


def test_cached_tokens_are_not_computed_again():
    assert queue(80).form(lambda turn: 60) == [Piece(0, 60, 20, first=True, last=True)]


def test_no_further_request_starts_once_enough_tokens_are_in_the_forward():
    assert [piece.turn for piece in queue(30, 30, 30, most=50).form(nothing_cached)] == [0, 1]
    assert [piece.turn for piece in queue(30, 30, most=1).form(nothing_cached)] == [0]


def test_a_shared_forward_costs_the_floor_once():
    curve = cost_model().prefill
    one, other = Piece(0, 0, 64, first=True, last=True), Piece(1, 128, 32, first=True, last=True)
    together = forward_s(curve, [one, other], 0.0)
    apart = forward_s(curve, [one], 0.0) + forward_s(curve, [other], 0.0)
    # 64 and 32 are captured sizes and so is 96 of their sum, so nothing but the floor is shared.
    assert together == pytest.approx(apart - curve.floor_s, rel=1e-12)
    assert forward_s(curve, [other], 0.0) == pytest.approx(curve.seconds(32, 128, 512), rel=1e-12)


def test_what_runs_hides_the_floor_and_no_more():
    curve = cost_model().prefill
    pieces = [Piece(0, 0, 64, first=True, last=True)]
    alone = forward_s(curve, pieces, 0.0)
    assert forward_s(curve, pieces, curve.floor_s / 4) == pytest.approx(alone - curve.floor_s / 4, rel=1e-12)
    assert forward_s(curve, pieces, 100.0) == pytest.approx(alone - curve.floor_s, rel=1e-12)
