"""N* and gamma* against the closed forms of model.md, "The decision", their cases, and the limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from analytical.closed_forms import ALPHA, WIRE, A, constants
from curve_cases import turn_model
from hypothesis import given
from hypothesis import strategies as st

from ppdsim.analytical.arm_comparison import ArmComparison, cached_on_p, j_gain_s, ttft_gain_s
from ppdsim.analytical.breakeven import Case, break_even, break_even_price, break_even_streams
from ppdsim.errors import InputError
from ppdsim.types import Arm, Transport

FULL = ArmComparison(arm=Arm.P_FULL, transport=Transport.TCP)
DELTA = ArmComparison(arm=Arm.P_DELTA, transport=Transport.TCP)


@pytest.mark.parametrize(("cached", "new"), [(0.0, 10_240.0), (4096.0, 9216.0), (32_768.0, 16_384.0)])
def test_break_even_streams_is_the_quotient_of_the_closed_form(cached, new):
    # Both machines compute the same m, so TTFT_P - TTFT_D is alpha and the wire, and S_D = a m.
    found = break_even(constants(), FULL, cached, new)
    assert found.case is Case.BELOW
    assert found.streams == pytest.approx((ALPHA + WIRE * (cached + new)) / (A * new), rel=1e-9)


def test_a_price_divides_the_streams():
    one = break_even(constants(), FULL, 4096.0, 9216.0).streams
    assert break_even(constants(), FULL.with_price_and_residents(gamma=4.0), 4096.0, 9216.0).streams == pytest.approx(
        one / 4, rel=1e-9
    )


def test_break_even_price_is_streams_over_batch():
    streams = break_even(constants(), FULL, 4096.0, 9216.0).streams
    price = break_even_price(constants(), FULL.with_price_and_residents(residents=10), 4096.0, 9216.0)
    assert float(price) == pytest.approx(streams / 10, rel=1e-9)


def test_vectorised_is_scalar_also_over_draws():
    model = turn_model()
    cached, new = np.array([0.0, 4096.0, 16_384.0]), np.array([64.0, 256.0, 8192.0])
    many = break_even_streams(model, FULL, cached, new)
    for i in range(3):
        assert break_even(model, FULL, cached[i], new[i]).streams == pytest.approx(many[i], rel=1e-6)
    draws = replace(model, prefill=replace(model.prefill, floor_s=np.array([[8e-3], [16e-3]])))
    samples = break_even_streams(draws, FULL, cached, new)
    assert samples.shape == (2, 3)
    np.testing.assert_allclose(samples[0], many, rtol=1e-9)


@given(residents=st.integers(1, 200), cached=st.integers(0, 30_000), new=st.integers(1, 16_000))
def test_d_wins_exactly_below_the_break_even(residents, cached, new):
    model = turn_model()
    comparison = FULL.with_price_and_residents(residents=residents)
    streams = break_even(model, comparison, float(cached), float(new)).streams
    gain = float(j_gain_s(model, comparison, float(cached), float(new)))
    if abs(residents - streams) > 0.01 * streams:
        assert (gain > 0) == (residents < streams)


@pytest.mark.parametrize(("cached", "new", "context"), [(4096.0, 256.0, 2048), (8192.0, 2048.0, 4096)])
def test_at_the_break_even_both_arms_cost_the_same(cached, new, context):
    """The part of N* beyond whole residents is turns that decode beside them; a launch still hides behind a step."""
    model, comparison = turn_model(), replace(FULL, resident_context_tokens=context)
    streams = break_even(model, comparison, cached, new).streams
    assert float(model.decode.step_s(streams, streams * context)) < model.stall.launch_s
    whole = int(streams)
    assert 0.0 < streams - whole < whole
    there = replace(comparison, residents=whole, decoding_turns=streams - whole)
    assert float(j_gain_s(model, there, cached, new)) == pytest.approx(0.0, abs=1e-9)


def test_no_price_on_equal_idle_machines_means_d_always_wins():
    found = break_even(turn_model(), FULL.with_price_and_residents(gamma=0.0), 4096.0, 1024.0)
    assert found.case is Case.ALWAYS_D
    assert found.streams == float("inf")


def test_a_link_without_bandwidth_means_d_wins():
    slow = constants(wire_s_per_token=1e6)
    assert break_even(slow, FULL, 4096.0, 256.0).case is Case.ALWAYS_D


def test_with_ever_more_streams_p_wins():
    gain = j_gain_s(constants(), FULL.with_price_and_residents(residents=10**7), 4096.0, 256.0)
    assert float(gain) < 0.0


def test_a_busy_d_and_an_idle_p_means_p_always_wins():
    waiting = replace(FULL, wait_d_s=10.0)
    found = break_even(constants(), waiting, 0.0, 1024.0)
    assert (found.case, found.streams) == (Case.ALWAYS_P, 0.0)


def test_where_a_hand_off_stalls_more_the_inequality_turns_round():
    # The append gains nothing in TTFT (D waits 10 s) but spares each resident 1 s a hand-off would take.
    turned = replace(FULL, wait_d_s=10.0, handoff_stall_s=1.0)
    found = break_even(constants(), turned, 0.0, 10_240.0)
    gain = ALPHA + WIRE * 10_240 - 10.0
    assert found.case is Case.ABOVE
    assert found.streams == pytest.approx(gain / (A * 10_240 - 1.0), rel=1e-9)
    above = float(j_gain_s(constants(), replace(turned, residents=round(found.streams) + 2), 0.0, 10_240.0))
    assert above > 0.0


def test_what_p_has_cached_follows_the_previous_answer_and_the_pages():
    assert cached_on_p(FULL, 4096.0, 64) == 4096.0
    assert cached_on_p(replace(FULL, previous_output_tokens=350), 4096.0, 64) == 3712.0
    assert cached_on_p(replace(FULL, previous_output_tokens=350), 100.0, 64) == 0.0
    assert cached_on_p(replace(FULL, cold=True), 4096.0, 64) == 0.0
    # Without an answer before, P holds the very prefix that D holds; with one whole pages of what is left of it.
    assert cached_on_p(FULL, 4100.0, 64) == 4100.0
    assert cached_on_p(replace(FULL, previous_output_tokens=350), 100.0, 1) == 0.0


def test_an_append_is_no_p_arm():
    with pytest.raises(InputError, match="expected the P arm"):
        ArmComparison(arm=Arm.APPEND_D, transport=Transport.NONE)


def test_an_append_that_is_neither_faster_nor_cheaper_leaves_the_turn_to_p():
    """Without a price on stalls TTFT alone decides: D waits 1 s, so P wins at any batch, whatever the stall."""
    slower = replace(FULL, wait_d_s=1.0, gamma=0.0)
    found = break_even(constants(), slower, 0.0, 1024.0)
    assert (found.case, found.streams) == (Case.ALWAYS_P, 0.0)
    # As fast as P, to the last digit, and no dearer: an append.
    even = replace(FULL, gamma=0.0, wait_d_s=float(break_even_gain_s(0.0, 1024.0)))
    assert break_even(constants(), even, 0.0, 1024.0).case is Case.ALWAYS_D


def break_even_gain_s(cached, new):
    return ttft_gain_s(constants(), FULL, cached, new)


@pytest.mark.parametrize(("wait_s", "price"), [(0.0, float("inf")), (0.5, 0.0)])
def test_an_append_that_costs_the_residents_nothing_has_no_price_or_any(wait_s, price):
    """No residents, so no loss: D wins at any price if it gains 0.1 s or less of TTFT, at none if it loses some."""
    alone = replace(FULL.with_price_and_residents(residents=0), wait_d_s=wait_s)
    gain_s = float(ttft_gain_s(constants(), alone, 4096.0, 1024.0))
    assert abs(gain_s) < 1.0
    assert (gain_s > 0.0) is (price > 0.0)
    assert float(break_even_price(constants(), alone, 4096.0, 1024.0)) == price


def test_a_price_of_a_loss_below_one_is_the_quotient():
    """A stalled stream-second costs less than 1 s here: the quotient all the same."""
    few = FULL.with_price_and_residents(residents=1)
    gain = float(ttft_gain_s(constants(), few, 4096.0, 1024.0))
    assert 0.0 < A * 1024.0 < 1.0
    assert float(break_even_price(constants(), few, 4096.0, 1024.0)) == pytest.approx(gain / (A * 1024.0), rel=1e-9)


@pytest.mark.parametrize(("gamma", "residents"), [(-0.5, 4), (1.0, -1), (-0.5, -1)])
def test_neither_a_price_nor_a_batch_is_negative(gamma, residents):
    with pytest.raises(InputError, match="expected both not negative"):
        replace(FULL, gamma=gamma, residents=residents)
    assert replace(FULL, gamma=0.0, residents=0).residents == 0


def test_an_append_that_gains_nothing_breaks_even_at_no_stream():
    """The vectorised form says 0 where the append is slower, and where it is as fast to the last digit."""
    cached, new = np.array([0.0]), np.array([1024.0])
    assert break_even_streams(constants(), replace(FULL, wait_d_s=10.0), cached, new).tolist() == [0.0]
    free = constants(wire_s_per_token=0.0, alpha_s=0.0)
    assert float(ttft_gain_s(free, FULL, 0.0, 1024.0)) == 0.0
    assert break_even_streams(free, FULL, cached, new).tolist() == [0.0]
