"""Student's t intervals over a few seeds, against the table in every textbook and by how often they hold."""

from __future__ import annotations

import numpy as np
import pytest

from ppdsim.analytical.paired import interval


@pytest.mark.parametrize(("count", "quantile"), [(2, 6.3138), (4, 2.3534), (8, 1.8946), (30, 1.6991)])
def test_the_quantile_is_that_of_the_t_table(count, quantile):
    values = [float(number) for number in range(count)]
    mean, low, high = interval(values)
    half = quantile * float(np.std(values, ddof=1)) / count**0.5
    assert mean == pytest.approx((count - 1) / 2)
    assert high - mean == pytest.approx(half, rel=1e-4)
    assert mean - low == pytest.approx(half, rel=1e-4)


def test_a_family_widens_as_bonferroni_says():
    # 0.1 / 20 two-sided with 7 degrees of freedom: t = 4.0293.
    values = [1.0, 2.0, 4.0, 3.0, 5.0, 2.0, 1.0, 0.0]
    mean, _, high = interval(values, family=20)
    assert high - mean == pytest.approx(4.0293 * float(np.std(values, ddof=1)) / 8**0.5, rel=1e-4)


def test_ninety_of_a_hundred_intervals_hold_the_mean():
    rng = np.random.default_rng(1)
    found = [interval(rng.normal(3.0, 2.0, 8).tolist()) for _ in range(4_000)]
    held = np.mean([low <= 3.0 <= high for _, low, high in found])
    assert 0.885 < held < 0.915


def test_equal_values_have_no_width():
    assert interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)


def test_one_value_is_refused():
    with pytest.raises(ValueError, match="given 1 values, expected at least 2"):
        interval([1.0])
