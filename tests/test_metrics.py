"""The definitions of TTFT, TPOT, ITL, E2E and goodput, against numpy and against hand counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppdsim.metrics import (
    BACKLOGGED,
    OVERLOADED,
    STABLE,
    SloLimits,
    attainment,
    describe,
    e2e_s,
    goodput_per_s,
    load_label,
    slo_met,
    tpot_s,
    ttft_s,
)

VALUES = st.lists(st.floats(0.0, 1e3), min_size=1, max_size=50)


def test_the_four_latencies_of_one_request():
    # Sent at 1, first token at 1.5, last of 5 at 2.5.
    assert ttft_s([1.0], [1.5]).tolist() == [0.5]
    assert e2e_s([1.0], [2.5]).tolist() == [1.5]
    assert tpot_s([1.5], [2.5], [5]).tolist() == [0.25]
    assert np.isnan(tpot_s([1.5], [1.5], [1]))[0]


@given(VALUES)
def test_percentiles_are_numpys(values):
    found = describe(values)
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert found[name] == pytest.approx(np.quantile(values, q))
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["max"] == max(values)


@given(st.lists(st.tuples(st.floats(0.0, 10.0), st.integers(1, 6)), min_size=1, max_size=20))
def test_weighted_percentiles_are_those_of_the_repeated_values(pairs):
    values, counts = zip(*pairs, strict=True)
    repeated = np.repeat(values, counts)
    found = describe(values, counts)
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert found[name] == np.quantile(repeated, q, method="inverted_cdf")
    assert found["mean"] == pytest.approx(repeated.mean())


def test_undefined_values_are_left_out():
    assert describe([1.0, float("nan"), 3.0])["mean"] == 2.0
    assert describe([float("nan")]) == {"mean": None, "p50": None, "p90": None, "p99": None, "max": None}


def test_goodput_counts_offered_requests():
    columns = {
        "ttft_s": np.array([0.1, 0.6, 0.1, np.nan]),
        "tpot_s": np.array([0.01, 0.01, np.nan, np.nan]),
        "itl_max_s": np.array([0.02, 0.02, np.nan, np.nan]),
    }
    ok = np.array([True, True, True, False])
    met = slo_met(columns, ok, SloLimits(ttft_s=0.5, tpot_s=0.02))
    assert met.tolist() == [True, False, True, False]
    assert slo_met(columns, ok, SloLimits(itl_max_s=0.01)).tolist() == [False, False, True, False]
    assert attainment(met, np.ones(4, dtype=bool)) == 0.5
    assert goodput_per_s(met, 4.0) == 0.5
    assert goodput_per_s(met, 0.0) is None
    assert attainment(met, np.zeros(4, dtype=bool)) is None


@pytest.mark.parametrize(
    ("waits", "unfinished", "label"),
    [
        ([0.0] * 9, 0, STABLE),
        ([0.5] * 9, 0, STABLE),
        ([2.0] * 9, 0, BACKLOGGED),
        ([1, 1, 1, 4, 4, 4, 12, 12, 12], 0, OVERLOADED),
        ([1, 1, 1, 4, 4, 4, 4, 4, 4], 0, BACKLOGGED),
        ([0.0] * 9, 1, OVERLOADED),
    ],
)
def test_the_label_says_whether_waits_grow(waits, unfinished, label):
    arrivals = np.arange(9.0)
    found = load_label(arrivals, np.array(waits, dtype=float), np.ones(9), last_start_s=9.0, unfinished=unfinished)
    assert found == label
