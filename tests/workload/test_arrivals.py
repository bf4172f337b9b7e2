from __future__ import annotations

import numpy as np
import pytest

from ppdsim.workload.arrivals import AbstractArrivals, Fixed, Gamma, Poisson

COUNT = 40_000


@pytest.mark.parametrize(
    ("arrivals", "cv"),
    [
        (Poisson(rate_per_s=4.0), 1.0),
        (Gamma(rate_per_s=4.0, cv=2.0), 2.0),
        (Gamma(rate_per_s=4.0, cv=0.5), 0.5),
        (Fixed(rate_per_s=4.0), 0.0),
    ],
)
def test_gaps_have_the_stated_mean_and_variation(arrivals: AbstractArrivals, cv: float) -> None:
    gaps_s = arrivals.gaps_s(np.random.default_rng(1), COUNT)
    standard_error_s = 0.25 * cv / COUNT**0.5
    assert gaps_s.mean() == pytest.approx(0.25, abs=4 * standard_error_s + 1e-12)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(cv, abs=0.05)


def test_times_are_the_running_sum_of_the_gaps() -> None:
    assert Fixed(rate_per_s=2.0).times_s(np.random.default_rng(0), 3).tolist() == [0.5, 1.0, 1.5]
