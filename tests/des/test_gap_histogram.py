"""Gaps in bins: what is exact, and how far off the rest may be."""

from __future__ import annotations

import numpy as np
import pytest

from ppdsim.des.gap_histogram import FLOOR_S, WIDTH, GapHistogram
from ppdsim.metrics import describe


def drawn() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    return rng.lognormal(np.log(6e-3), 0.5, 50_000), rng.integers(1, 40, 50_000).astype(float)


def test_sums_and_the_largest_are_exact_and_percentiles_within_the_width_of_a_bin():
    gaps_s, counts = drawn()
    histogram = GapHistogram()
    for part in np.array_split(np.arange(len(gaps_s)), 7):
        histogram.add(gaps_s[part], counts[part])
    binned_s, binned = histogram.columns()
    assert len(binned_s) < 0.8 * len(gaps_s)
    assert np.all(np.diff(binned_s) > 0)
    assert binned.sum() == counts.sum()
    exact, found = describe(gaps_s, counts), describe(binned_s, binned)
    assert found["max"] == exact["max"]
    assert found["mean"] == pytest.approx(exact["mean"], rel=1e-12)
    for name in ("p50", "p90", "p99"):
        assert found[name] == pytest.approx(exact[name], rel=WIDTH)


def test_gaps_that_differ_by_more_than_a_bin_are_kept_as_they_are():
    histogram = GapHistogram()
    histogram.add(np.array([0.25, 0.004, 0.003]), np.array([1.0, 1.0, 3.0]))
    gaps_s, counts = histogram.columns()
    assert gaps_s.tolist() == pytest.approx([0.003, 0.004, 0.25], rel=1e-15)
    assert counts.tolist() == [3.0, 1.0, 1.0]


def test_gaps_that_nobody_felt_do_not_count_and_a_gap_may_be_nothing():
    histogram = GapHistogram()
    assert [len(column) for column in histogram.columns()] == [0, 0]
    histogram.add(np.array([np.nan, 0.01]), np.array([0.0, 0.0]))
    assert [len(column) for column in histogram.columns()] == [0, 0]
    histogram.add(np.array([0.0, FLOOR_S / 2, 2.0]), np.array([2.0, 2.0, 1.0]))
    gaps_s, counts = histogram.columns()
    assert gaps_s.tolist() == [FLOOR_S / 4, 2.0]
    assert counts.tolist() == [4.0, 1.0]
