from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppdsim.workload.lengths import AbstractLength, Constant, Empirical, Exponential, Lognormal, Uniform

COUNT = 40_000


@pytest.mark.parametrize(
    ("length", "mean", "low", "high"),
    [
        (Constant(value=7.0), 7.0, 7.0, 7.0),
        (Uniform(low=10.0, high=30.0), 20.0, 10.0, 30.0),
        (Exponential(mean=5.0), 5.0, 0.0, np.inf),
        (Lognormal(median=100.0, sigma=0.5, low=0.0, high=1e9), 100.0 * np.exp(0.125), 0.0, 1e9),
        (Lognormal(median=100.0, sigma=0.0, low=0.0, high=50.0), 50.0, 50.0, 50.0),
        (Empirical(values=(1.0, 2.0, 6.0)), 3.0, 1.0, 6.0),
    ],
)
def test_draws_have_the_mean_and_keep_to_the_range(
    length: AbstractLength, mean: float, low: float, high: float
) -> None:
    values = length.draw(np.random.default_rng(2), COUNT)
    assert values.shape == (COUNT,)
    assert values.mean() == pytest.approx(mean, rel=0.03)
    assert low <= values.min() <= values.max() <= high


@given(st.floats(0.0, 1e6), st.integers(0, 2**32 - 1))
def test_tokens_are_whole_and_at_least_one(value: float, seed: int) -> None:
    tokens = Constant(value=value).draw_tokens(np.random.default_rng(seed), 2)
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [max(1, round(value))] * 2
