"""Intervals over replications cover what they promise, alone and as joint draws of a line."""

from __future__ import annotations

import numpy as np
import pytest

from ppdsim.analytical.replications import draws_of_mean, mean_interval


@pytest.mark.parametrize("count", [2, 5, 20])
def test_nine_of_ten_intervals_hold_the_mean(count: int) -> None:
    rng = np.random.default_rng(count)
    inside = 0
    for values in rng.normal(3.0, 2.0, size=(4000, count)):
        interval = mean_interval(values)
        inside += interval.low <= 3.0 <= interval.high
    # Three standard deviations of a share of 0.9 over 4000 trials are 0.014.
    assert inside / 4000 == pytest.approx(0.9, abs=0.015)


def test_one_replication_has_no_interval() -> None:
    assert mean_interval(np.array([1.0])) is None
    assert mean_interval(np.array([])) is None


@pytest.mark.parametrize(("family", "quantile"), [(1, 1.8946), (20, 4.0293)])
def test_a_family_widens_as_bonferroni_says(family: int, quantile: float) -> None:
    # 0.05 and 0.05 / 20 on either side with 7 degrees of freedom, from the table of t.
    values = np.array([1.0, 2.0, 4.0, 3.0, 5.0, 2.0, 1.0, 0.0])
    found = mean_interval(values, family=family)
    assert found.high - found.value == pytest.approx(quantile * np.std(values, ddof=1) / 8**0.5, rel=1e-4)


@pytest.mark.parametrize("count", [3, 8])
def test_a_draw_at_one_point_is_distributed_as_the_interval_says(count: int) -> None:
    values = np.random.default_rng(1).normal(size=(count, 2)) * [1.0, 5.0] + [0.0, 10.0]
    draws = draws_of_mean(values, np.random.default_rng(2), 200_000)
    for point in range(2):
        interval = mean_interval(values[:, point])
        low, high = np.quantile(draws[:, point], (0.05, 0.95))
        width = interval.high - interval.low
        assert low == pytest.approx(interval.low, abs=0.02 * width)
        assert high == pytest.approx(interval.high, abs=0.02 * width)


def test_what_all_points_share_moves_them_together() -> None:
    shared = np.array([[-1.0], [0.0], [1.0]]) + np.array([[0.0, 5.0, 7.0]])
    draws = draws_of_mean(shared, np.random.default_rng(3), 100)
    assert np.ptp(draws - np.array([0.0, 5.0, 7.0]), axis=1) == pytest.approx(0.0, abs=1e-12)
    assert np.std(draws[:, 0]) > 0.1
