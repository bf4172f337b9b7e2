"""A point is this host's, an interval another host's: neither is moved to fit, and 90 % of the draws lie inside."""

from __future__ import annotations

import numpy as np
import pytest
from crossover_cases import plan

from ppdsim import compose
from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.analytical.breakeven import break_even_price, break_even_streams
from ppdsim.analytical.crossing import cache_rate_crossing, new_tokens_crossing, sampled_crossing
from ppdsim.answers import ALL_EQUAL, NEARLY_EQUAL, NOT_DRAWN, SPREAD
from ppdsim.crossover.arms import arm_curve
from ppdsim.crossover.breakeven import break_even_point, breakeven_map, host_interval
from ppdsim.crossover.levels import crossings
from ppdsim.crossover.words import headline
from ppdsim.types import Arm, Transport

INF = float("inf")
NVLINK = ArmComparison(arm=Arm.P_FULL, transport=Transport.NVLINK)


def draws_of(what, some=slice(None)) -> np.ndarray:
    """Return a number of every draw, each asked alone."""
    numbers = range(len(np.asarray(plan().samples.prefill.token_s)))[some]
    return np.array([what(compose.scalar(plan().samples, number)) for number in numbers])


def central_90(draws: np.ndarray, low: float, high: float) -> None:
    """Assert that 5 % of the draws lie below and 5 % above, to the draw."""
    assert abs(np.sum(draws < low) - 0.05 * len(draws)) <= 1
    assert abs(np.sum(draws > high) - 0.05 * len(draws)) <= 1


def test_n_star_and_gamma_star_hold_the_central_90_per_cent_of_their_draws():
    point = break_even_point(plan(), NVLINK, 4096, 256)
    at = np.array([4096.0]), np.array([256.0])
    for found, draws in (
        (point.n_star, draws_of(lambda model: break_even_streams(model, NVLINK, *at)[0])),
        (point.gamma_star, draws_of(lambda model: float(np.asarray(break_even_price(model, NVLINK, *at))[0]))),
    ):
        central_90(draws, found.low, found.high)
        assert found.value == pytest.approx(np.median(draws))
        # Half of the draws lie on either side of the point printed with the interval, and not of this host's.
        assert np.mean(draws > found.this_host) > 0.8


def test_r_star_and_m_star_hold_the_central_90_per_cent_of_their_draws():
    found = {c.axis: c for c in crossings(plan()) if c.source == "analytical" and c.handoff_stall_s == 0.0}
    every = slice(None, None, 5)
    for axis, search, at, step in (
        ("r", cache_rate_crossing, 8192, 1 / 399),
        ("new_tokens", new_tokens_crossing, 4096, 16),
    ):
        interval = found[axis].interval
        exact = draws_of(lambda model: search(model, _column(model), NVLINK, at).values[-1], every)  # noqa: B023
        # Draws are interpolated on a scan, whose step is all that parts them from a search of each draw.
        inside = (exact > interval.low - step) & (exact < interval.high + step)
        assert np.mean(inside) >= 0.9
        assert np.mean((exact > interval.low + step) & (exact < interval.high - step)) <= 0.9
        assert interval.value == pytest.approx(np.median(exact), abs=4 * step)


def _column(model):
    """Return a samples of one draw."""
    return compose.with_compute(model, np.array([[1.0]]))


def test_a_crossings_interval_is_that_of_the_draws_crossings_to_the_last_digit():
    axis, at = np.linspace(0.0, 10.0, 51), np.random.default_rng(3).uniform(2.0, 8.0, 201)
    found = sampled_crossing(axis, axis - 9.0, axis - at[:, None])
    central_90(at, found.interval.low, found.interval.high)
    assert found.interval.value == pytest.approx(np.median(at))
    # The crossing of this host lies outside, and neither is moved.
    assert found.values == pytest.approx((9.0,))
    assert found.interval.high < 8.0


def test_no_band_is_stretched_to_hold_its_line():
    curve = arm_curve(plan(), None, 8192, (0.2, 0.5, 0.9))
    cached, new = (np.array(tokens, dtype=float) for tokens in (curve.cached_tokens, curve.new_tokens))
    drawn = np.asarray(plan().samples.stall_s(Arm.APPEND_D, cached, new, 4.0, plan().grid.resident_context_tokens))
    np.testing.assert_allclose(curve.stall_low_s, np.quantile(drawn, 0.05, axis=0))
    np.testing.assert_allclose(curve.stall_high_s, np.quantile(drawn, 0.95, axis=0))
    drawn_map = breakeven_map(plan(), NVLINK)
    streams = break_even_streams(plan().samples, NVLINK, np.array([4096.0]), np.array([256.0]))[:, 0]
    row, column = drawn_map.cached_tokens.index(4096), drawn_map.new_tokens.index(256)
    assert drawn_map.n_star_low[row][column] == pytest.approx(np.quantile(streams, 0.05))
    assert drawn_map.n_star_high[row][column] == pytest.approx(np.quantile(streams, 0.95))


def test_a_point_outside_its_interval_stays_there():
    found = host_interval(1.0, np.linspace(2.0, 3.0, 101))
    assert (found.this_host, found.value, found.draws) == (1.0, 2.5, SPREAD)
    assert (found.low, found.high) == pytest.approx((2.05, 2.95))


@pytest.mark.parametrize(
    ("draws", "value", "what"),
    [
        ([INF] * 5, INF, ALL_EQUAL),
        ([2.0] * 5, 2.0, ALL_EQUAL),
        ([1.0] + [INF] * 99, INF, NEARLY_EQUAL),
        ([], 7.0, NOT_DRAWN),
        ([float("nan")], 7.0, NOT_DRAWN),
    ],
)
def test_draws_without_a_spread_have_no_interval_and_say_so(draws, value, what):
    found = host_interval(7.0, draws)
    assert (found.value, found.low, found.high, found.draws) == (value, None, None, what)


def test_an_interval_may_end_in_any_number():
    found = host_interval(3.0, [1.0, 2.0, 3.0, INF, INF])
    assert (found.value, found.low < 1.5, found.high, found.draws) == (3.0, True, INF, SPREAD)


def test_the_headline_names_the_host_of_each_number():
    point = break_even_point(plan(), NVLINK, 4096, 256)
    n = point.n_star
    assert headline([point], 1.0) == (
        "Appending 256 tokens to 4096 cached ones on D is cheaper than a hand-off: over NVLink while fewer than N* "
        "streams decode on D: "
        f"this host {n.this_host:.1f}; another host of this kind {n.value:.1f} ({n.low:.1f} to {n.high:.1f})."
    )
