"""r* and m* against the closed forms of model.md, "The decision", and every legal kind of answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from analytical.closed_forms import ALPHA, L_STAR, WIRE, A, constants
from curve_cases import turn_model

from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.analytical.crossing import (
    LARGEST_NEW_TOKENS,
    _changes,
    _last_crossings,
    _refine,
    cache_rate_crossing,
    cache_rate_table,
    new_tokens_crossing,
    sampled_crossing,
)
from ppdsim.answers import CrossingKind
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport

FULL = ArmComparison(arm=Arm.P_FULL, transport=Transport.TCP)
DELTA = ArmComparison(arm=Arm.P_DELTA, transport=Transport.TCP)
S = 400_000
"""A prompt so long that the whole tokens of the scan do not show in the fourth digit."""


def samples_of(model: TurnModel, share: float = 0.1) -> TurnModel:
    spread = np.linspace(1 - share, 1 + share, 21)[:, None]
    return replace(model, prefill=replace(model.prefill, token_s=model.prefill.token_s * spread))


def test_r_star_of_a_full_transfer():
    # r* = 1 - [B0 / B_link + (W_P + alpha) / (a S)] / (gamma N), B0 / B_link = wire / a
    model, comparison = constants(), replace(FULL, residents=2, wait_p_s=0.5)
    expected = 1 - (WIRE / A + (0.5 + ALPHA) / (A * S)) / 2
    found = cache_rate_crossing(model, samples_of(model), comparison, S)
    assert found.kind is CrossingKind.VALUE
    assert found.values[0] == pytest.approx(expected, abs=2 / S)
    assert found.interval.low < expected < found.interval.high


def test_r_star_with_attention_solves_the_same_equation():
    model, comparison = constants(attention=True), replace(FULL, residents=2)
    rate = cache_rate_crossing(model, samples_of(model), comparison, S).values[-1]
    new = (1 - rate) * S
    # The engine's new tokens attend to each other too, so L/L* of the closed form is (L + m/2)/L*.
    expected = 1 - (WIRE / A + ALPHA / (A * S)) / (2 * (1 + (rate * S + new / 2) / L_STAR))
    assert rate == pytest.approx(expected, abs=4 / S)


def test_r_star_of_a_cold_p_over_a_fast_link():
    model = constants(wire_s_per_token=0.0, alpha_s=0.0)
    for streams in (1, 3, 9):
        comparison = replace(FULL, cold=True, residents=streams)
        found = cache_rate_crossing(model, samples_of(model), comparison, S)
        assert found.values[-1] == pytest.approx(streams / (1 + streams), abs=2 / S)


@pytest.mark.parametrize("answer", [0, 350])
def test_m_star_of_a_delta_transfer(answer):
    # m* = (W_P + alpha + a o) / (gamma N a - wire)
    model = constants()
    comparison = replace(DELTA, residents=1, previous_output_tokens=answer, wait_p_s=0.1)
    expected = (0.1 + ALPHA + A * answer) / (A - WIRE)
    found = new_tokens_crossing(model, model_draws(model), comparison, 50_000)
    # Below the largest captured size the matrix work is that of the next size, so the line lies on a step.
    assert found.values[-1] == pytest.approx(expected, rel=0.08)


def model_draws(model: TurnModel) -> TurnModel:
    return samples_of(model, 0.01)


def test_m_star_of_a_slow_delta_link_is_always_d():
    # gamma N a <= kappa / B_link: the denominator of the closed form is not positive.
    model = constants(wire_s_per_token=2 * A)
    found = new_tokens_crossing(model, model_draws(model), replace(DELTA, residents=1), 4096)
    assert (found.kind, found.values, found.interval) == (CrossingKind.ALWAYS_D, (), None)
    assert found.share_without == 1.0


def test_a_free_hand_off_is_always_p():
    model = constants(wire_s_per_token=0.0, alpha_s=0.0)
    found = cache_rate_crossing(model, samples_of(model), FULL, 2048)
    assert found.kind is CrossingKind.ALWAYS_P


def test_steps_of_the_captured_sizes_can_cross_several_times():
    model = turn_model()
    kinds = {
        new_tokens_crossing(model, samples_of(model), replace(DELTA, residents=n), 4096).kind
        for n in (2, 3, 4, 5, 6, 8)
    }
    assert CrossingKind.SEVERAL in kinds
    found = next(
        f
        for n in (2, 3, 4, 5, 6, 8)
        for f in [new_tokens_crossing(model, samples_of(model), replace(DELTA, residents=n), 4096)]
        if f.kind is CrossingKind.SEVERAL
    )
    assert list(found.values) == sorted(found.values)
    assert found.interval.low <= found.interval.value <= found.interval.high


def test_the_share_of_draws_without_a_crossing_is_counted():
    model = constants(wire_s_per_token=0.98 * A)
    found = new_tokens_crossing(model, samples_of(model), replace(DELTA, residents=1), 4096)
    assert 0.0 < found.share_without < 1.0


def test_a_table_gives_what_each_price_and_batch_gives_alone():
    model = turn_model()
    draws = samples_of(model)
    gammas, residents = (0.5, 3.0), (1, 2, 7)
    table = cache_rate_table(model, draws, FULL, 8192, gammas, residents)
    assert (len(table), len(table[0])) == (2, 3)
    for gamma, row in zip(gammas, table, strict=True):
        for streams, found in zip(residents, row, strict=True):
            alone = cache_rate_crossing(
                model, draws, FULL.with_price_and_residents(gamma=gamma, residents=streams), 8192
            )
            assert found.kind is alone.kind
            assert found.values == pytest.approx(alone.values)
            assert found.share_without == alone.share_without
            assert (found.interval is None) is (alone.interval is None)
            if found.interval is not None:
                assert (found.interval.low, found.interval.high) == pytest.approx(
                    (alone.interval.low, alone.interval.high), rel=1e-9
                )
    # Prices and batches that move the line.
    assert len({found.values for row in table for found in row}) > 2


def test_the_scan_ends_one_token_short_of_the_prompt():
    """At least one token is new: a change between the last two tokens is found, and none beyond them."""
    axis_gains = []
    model = constants()

    def load(comparison, cached, new):
        axis_gains.append((cached, new))
        return comparison

    cache_rate_crossing(model, samples_of(model), FULL, 64, load=load)
    cached, new = (np.concatenate([np.atleast_1d(pair[i]) for pair in axis_gains]) for i in (0, 1))
    assert (cached.min(), cached.max()) == (0.0, 63.0)
    assert np.all(cached + new == 64.0)


def test_m_star_is_looked_for_from_one_token_on():
    asked = []
    model = constants()

    def load(comparison, cached, new):
        asked.append(np.atleast_1d(new))
        return comparison

    new_tokens_crossing(model, samples_of(model), FULL, 4096, load=load)
    assert (min(each.min() for each in asked), max(each.max() for each in asked)) == (1.0, LARGEST_NEW_TOKENS)


def test_a_draws_last_change_is_interpolated():
    """Draws whose last change is at 6, at 7, at 2.5, and nowhere."""
    axis = np.array([1.0, 2.0, 4.0, 8.0])
    draws = np.array([[2.0, -2.0, -1.0, 1.0], [2.0, -1.0, -3.0, 1.0], [3.0, 1.0, -3.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
    found = sampled_crossing(axis, draws[0], draws)
    assert found.kind is CrossingKind.SEVERAL
    assert found.values == pytest.approx((1.5, 6.0))
    # Between 5 % and 95 % of 2.5, 6 and 7, by interpolation.
    assert (found.interval.low, found.interval.value, found.interval.high) == pytest.approx((2.85, 6.0, 6.9))
    assert (found.share_without, found.share_carried) == (0.25, 1.0)


def test_one_draw_or_equal_draws_have_no_interval():
    axis, gain = np.array([1.0, 2.0]), np.array([-1.0, 1.0])
    for draws in ([gain], [gain, gain], [-gain * 0.0 + 1.0, gain]):
        assert sampled_crossing(axis, gain, np.array(draws)).interval is None
    none = sampled_crossing(axis, gain, np.array([[1.0, 1.0], [2.0, 2.0]]))
    assert (none.values, none.interval, none.share_without) == ((1.5,), None, 1.0)


@pytest.mark.parametrize(
    ("gain", "kind", "carried"),
    [
        ([], CrossingKind.NO_ROOM, 0.0),
        ([2.0], CrossingKind.D_WHERE_BOTH, 1.0),
        ([-2.0], CrossingKind.P_WHERE_BOTH, 1.0),
        ([1.0, 2.0], CrossingKind.ALWAYS_D, 1.0),
        ([-1.0, -2.0], CrossingKind.ALWAYS_P, 1.0),
        ([1.0, 2.0, np.nan, np.nan], CrossingKind.D_WHERE_BOTH, 0.5),
        ([np.inf, np.inf], CrossingKind.P_NOT_CARRIED, 0.0),
        ([-np.inf, -np.inf], CrossingKind.D_NOT_CARRIED, 0.0),
        ([np.nan, np.inf], CrossingKind.OVERLOADED, 0.0),
    ],
)
def test_an_axis_without_a_change_says_why(gain, kind, carried):
    middle = np.array(gain, dtype=float)
    found = sampled_crossing(np.arange(1.0, len(gain) + 1.0), middle, np.array([middle]))
    assert (found.kind, found.values, found.interval, found.share_carried) == (kind, (), None, carried)
    assert found.share_without == 1.0


def waiting(*waits_s):
    """Return a load under which D waits for so long in equal parts of the axis, from no cached token on [s]."""

    def load(comparison, cached, new):
        part = np.minimum(np.floor(cached / (cached + new) * len(waits_s)), len(waits_s) - 1).astype(int)
        return replace(comparison, wait_d_s=np.array(waits_s)[part])

    return load


def test_a_server_that_fills_up_is_crossed_where_it_does_and_nothing_is_across_a_gap():
    """An append that waits without end loses from there on; where neither arm is carried no line crosses."""
    model = constants(wire_s_per_token=1.0)
    full = cache_rate_crossing(model, samples_of(model), FULL, S, load=waiting(0.0, np.inf))
    assert full.kind is CrossingKind.VALUE
    assert full.values == pytest.approx((0.5,), abs=1e-3)
    gap = cache_rate_crossing(model, samples_of(model), FULL, S, load=waiting(0.0, np.nan, 1e9))
    assert (gap.kind, gap.values) == (CrossingKind.P_WHERE_BOTH, ())
    assert gap.share_without == 1.0


def test_the_cheaper_arm_changes_between_signs_and_not_to_or_from_what_is_not_carried():
    nan, inf = float("nan"), float("inf")
    gain = np.array([[1.0, -1.0, -2.0, inf, nan, 3.0], [nan, 1.0, 1.0, nan, -1.0, -inf]])
    np.testing.assert_array_equal(_changes(gain), [[1, 0, 1, 0, 0], [0, 0, 0, 0, 0]])
    # Of one draw alone the same.
    np.testing.assert_array_equal(_changes(gain[0]), [1, 0, 1, 0, 0])


@pytest.mark.parametrize("root", [2.0, 2.3, 3.0])
def test_a_crossing_at_an_end_of_its_bracket_is_that_end(root):
    assert _refine(lambda x: x - root, 2.0, 3.0) == pytest.approx(root, abs=1e-9)


def test_a_draws_last_crossing_is_interpolated_and_half_way_where_an_arm_fills_up():
    inf = float("inf")
    samples = np.array(
        [[1.0, -1.0, 1.0, -3.0, -4.0], [-1.0, 3.0, 3.0, 3.0, 3.0], [2.0] * 5, [-1.0, -1.0, inf, inf, inf]]
    )
    scan = np.array([0.0, 1.0, 2.0, 4.0, 8.0])
    np.testing.assert_allclose(_last_crossings(samples, scan), [2.5, 0.25, float("nan"), 1.5])
