"""The definitions of TTFT, TPOT, ITL, E2E and goodput, against numpy and against hand counts."""

from __future__ import annotations

import ast
import math

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
    interval_90,
    load_label,
    quantile,
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
        assert found[name] == pytest.approx(np.quantile(repeated, q))
    assert found["mean"] == pytest.approx(repeated.mean())


@given(VALUES, st.floats(0.0, 1.0))
def test_a_percentile_is_numpys_default_and_keeps_its_axis(values, share):
    assert quantile(values, share) == pytest.approx(np.quantile(values, share))
    table = np.array([values, values[::-1]])
    assert quantile(table, [share, 1.0], axis=1) == pytest.approx(np.quantile(table, [share, 1.0], axis=1))


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        ([1.0, 2.0, math.inf], 0.25, 1.5),  # both neighbours are finite: as ever
        ([1.0, 2.0, math.inf], 0.74, 2.0),  # the nearer one of 2 and infinity
        ([1.0, 2.0, math.inf], 0.75, 2.0),
        ([1.0, 2.0, math.inf], 0.76, math.inf),
        ([-math.inf, 0.0, 2.0], 0.75, 1.0),
        ([-math.inf, 0.0], 0.4, -math.inf),
        ([math.inf, math.inf], 0.3, math.inf),
    ],
)
def test_beside_an_infinite_value_a_percentile_is_the_nearer_one(values, share, found):
    assert quantile(values, share) == found
    assert quantile(np.array([values, values]), share, axis=1).tolist() == [found, found]


def test_the_90_percent_interval_of_draws_is_their_central_90_percent():
    draws = np.random.default_rng(0).permutation(2001.0 + np.arange(2001))
    low, high = interval_90(draws)
    assert (low, high) == (2101.0, 3901.0)
    assert np.mean(draws < low) == pytest.approx(0.05, abs=5e-4)
    assert np.mean(draws > high) == pytest.approx(0.05, abs=5e-4)


OWN_PERCENTILES = {
    "metrics.py": "the definition",
    "calibrate/derive/errors.py": "a sigma that has to cover 90 % of few checks at the least, not a percentile",
}
"""Modules that may ask numpy for a quantile, and why."""
QUANTILE_NAMES = {"quantile", "quantiles", "percentile", "nanquantile", "nanpercentile", "scoreatpercentile"}


def own_percentiles(tree):
    """Yield the lines at which a module has a percentile that does not come from ppdsim.metrics."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in QUANTILE_NAMES:
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "metrics"):
                yield node.lineno
        # sorted(values)[int(0.9 * len(values))], and the same after a sort: an index worked out from a share
        elif isinstance(node, ast.Subscript):
            calls = [each.func for each in ast.walk(node.slice) if isinstance(each, ast.Call)]
            names = {each.id for each in calls if isinstance(each, ast.Name)}
            shares = [each for each in ast.walk(node.slice) if isinstance(getattr(each, "value", None), float)]
            if {"int", "len"} <= names and shares:
                yield node.lineno


def test_there_is_one_definition_of_a_percentile(repository):
    package = repository / "ppdsim"
    found = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if any(own_percentiles(ast.parse(file.read_text(encoding="utf-8"))))
    }
    assert found == set(OWN_PERCENTILES)


@pytest.mark.parametrize(
    "line",
    ["np.percentile(x, 90)", "x[min(len(x) - 1, int(0.9 * len(x)))]", "frame.quantile(0.5)", "np.quantile(x, q)"],
)
def test_a_second_definition_would_be_found(line):
    assert list(own_percentiles(ast.parse(line))) == [1]


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
