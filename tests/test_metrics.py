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
    is_known,
    load_label,
    median,
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
    assert tpot_s([1.5], [1.75], [2]).tolist() == [0.25], "two tokens have one gap"


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


def test_infinite_values_keep_the_axes_too():
    """At 0.25 of three values the place is half-way between the first two, at 0.75 between the last two."""
    columns = np.array([[1.0, 2.0], [3.0, 6.0], [np.inf, 8.0]])
    assert quantile(columns, (0.25, 0.75), axis=0).tolist() == [[2.0, 4.0], [3.0, 7.0]]
    assert quantile(columns.T, (0.25, 0.75), axis=1).tolist() == [[2.0, 4.0], [3.0, 7.0]]
    assert quantile(columns, 0.25, axis=0).tolist() == [2.0, 4.0]


def test_the_90_percent_interval_of_draws_is_their_central_90_percent():
    draws = np.random.default_rng(0).permutation(2001.0 + np.arange(2001))
    low, high = interval_90(draws)
    assert (low, high) == (2101.0, 3901.0)
    assert np.mean(draws < low) == pytest.approx(0.05, abs=5e-4)
    assert np.mean(draws > high) == pytest.approx(0.05, abs=5e-4)


OWN_PERCENTILES = {
    "metrics.py": "the definition",
    "capacity/run.py": "the seed in the middle, whose runs are shown; of an even number of seeds the lower one",
    "report/figures/_views.py": "the middle one of the prompt lengths that were asked, which has to be one of them",
    "report/wording.py": "the same",
}
"""Modules that may ask numpy for a quantile, and why."""
MEDIAN_NAMES = {"median", "nanmedian", "median_low", "median_high", "median_grouped"}
QUANTILE_NAMES = MEDIAN_NAMES | {
    "quantile", "quantiles", "percentile", "nanquantile", "nanpercentile", "scoreatpercentile",
}  # fmt: skip


def own_percentiles(tree):
    """Yield the lines at which a module has a percentile that does not come from ppdsim.metrics."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in QUANTILE_NAMES:
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "metrics"):
                yield node.lineno
        elif isinstance(node, ast.ImportFrom):
            if node.module != "ppdsim.metrics" and any(alias.name in QUANTILE_NAMES for alias in node.names):
                yield node.lineno
        # sorted(values)[int(0.9 * len(values))], and the same after a sort: an index worked out from a share
        elif isinstance(node, ast.Subscript):
            calls = [each.func for each in ast.walk(node.slice) if isinstance(each, ast.Call)]
            names = {each.id for each in calls if isinstance(each, ast.Name)}
            shares = [each for each in ast.walk(node.slice) if isinstance(getattr(each, "value", None), float)]
            halves = [each for each in ast.walk(node.slice) if isinstance(each, ast.BinOp) and is_half(each)]
            if ("len" in names and halves) or ({"int", "len"} <= names and shares):
                yield node.lineno


def is_half(operation):
    """Return whether something is divided by two, in whole numbers."""
    return isinstance(operation.op, ast.FloorDiv) and isinstance(operation.right, ast.Constant)


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
    [
        "np.percentile(x, 90)",
        "x[min(len(x) - 1, int(0.9 * len(x)))]",
        "frame.quantile(0.5)",
        "np.quantile(x, q)",
        "np.median(x)",
        "frame.median()",
        "statistics.median_low(x)",
        "from statistics import median",
        "sorted(x)[len(x) // 2]",
    ],
)
def test_a_second_definition_would_be_found(line):
    assert list(own_percentiles(ast.parse(line))) == [1]


@pytest.mark.parametrize("line", ["metrics.median(x)", "from ppdsim.metrics import median", "x[len(y) - 1]"])
def test_the_one_definition_is_no_second_one(line):
    assert not list(own_percentiles(ast.parse(line)))


@given(st.lists(st.floats(-1e6, 1e6) | st.just(np.inf), min_size=1, max_size=9))
def test_the_median_is_the_50th_percentile(values):
    assert median(values) == pytest.approx(float(quantile(values, 0.5)), rel=1e-12, abs=1e-9)


def test_undefined_values_are_left_out():
    assert describe([1.0, float("nan"), 3.0])["mean"] == 2.0
    assert describe([float("nan")]) == {"mean": None, "p50": None, "p90": None, "p99": None, "max": None}


def test_a_value_that_never_occurs_counts_for_nothing():
    found = describe([9.0, 1.0, 3.0, 7.0], [0, 2, 2, 0])
    assert found == {"mean": 2.0, "p50": 2.0, "p90": 3.0, "p99": 3.0, "max": 3.0}
    assert describe([9.0, float("nan")], [0, 3])["max"] is None


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


def beyond(value):
    """Return the next larger float."""
    return np.nextafter(value, np.inf)


@pytest.mark.parametrize("name", ["ttft_s", "tpot_s", "itl_max_s"])
def test_a_limit_is_kept_at_equality_and_broken_by_the_next_float(name):
    columns = {each: np.zeros(3) for each in ("ttft_s", "tpot_s", "itl_max_s")}
    columns[name] = np.array([0.3, beyond(0.3), np.nan])
    met = slo_met(columns, np.ones(3, dtype=bool), SloLimits(**{name: 0.3}))
    assert met.tolist() == [True, False, True]
    # No answer keeps no limit, and what has no limit is not judged.
    assert slo_met(columns, np.zeros(3, dtype=bool), SloLimits(**{name: 0.3})).tolist() == [False] * 3
    assert slo_met(columns, np.ones(3, dtype=bool), SloLimits()).tolist() == [True] * 3


@pytest.mark.parametrize(
    ("waits", "label"),
    [
        # The last third waits as long as a turn is served: that is no backlog.
        ([0.0, 0.0, 1.0], STABLE),
        ([0.0, 0.0, beyond(1.0)], BACKLOGGED),
        # It grows in both steps, to five times the service.
        ([1.0, 3.0, 5.0], BACKLOGGED),
        ([1.0, 3.0, beyond(5.0)], OVERLOADED),
        # Growth is by more than a fifth, in the first step and in the second.
        ([10.0, 1.2 * 10.0, 99.0], BACKLOGGED),
        ([10.0, beyond(1.2 * 10.0), 99.0], OVERLOADED),
        ([1.0, 10.0, 1.2 * 10.0], BACKLOGGED),
        ([1.0, 10.0, beyond(1.2 * 10.0)], OVERLOADED),
        ([9.0, 10.0, 99.0], BACKLOGGED),
        ([1.0, 100.0, 99.0], BACKLOGGED),
    ],
)
def test_the_label_at_its_boundaries(waits, label):
    found = load_label(np.arange(3.0), np.array(waits), np.ones(3), last_start_s=2.0, unfinished=0)
    assert found == label


def test_the_label_looks_at_turns_that_arrive_while_conversations_start():
    """A turn that arrives with the last start counts, the backlog of later ones does not; two are too few to tell."""
    waits, arrivals = np.array([0.0, 0.0, 9.0, 90.0, 90.0]), np.arange(5.0)

    def label(last_start_s, waits):
        return load_label(arrivals, waits, np.ones(5), last_start_s=last_start_s, unfinished=0)

    assert label(2.0, waits) == BACKLOGGED
    assert label(2.0, np.array([0.0, 0.0, 0.5, 90.0, 90.0])) == STABLE
    # Fewer than three: all count.
    assert label(1.0, np.array([0.0, 0.0, 0.5, 90.0, 90.0])) != STABLE
    # What has no answer is not waited for.
    assert label(4.0, np.array([0.0, np.nan, 0.5, np.nan, np.nan])) == STABLE


def test_thirds_are_by_arrival_and_the_wait_is_a_mean():
    """The order of rows is that of conversations, not of arrivals."""
    arrivals = np.array([5.0, 0.0, 4.0, 1.0, 3.0, 2.0])
    waits = np.array([20.0, 0.0, 10.0, 2.0, 4.0, 4.0])  # by arrival: 0 2 | 4 4 | 10 20
    assert load_label(arrivals, waits, np.ones(6), last_start_s=9.0, unfinished=0) == OVERLOADED
    assert load_label(np.arange(6.0), waits, np.ones(6), last_start_s=9.0, unfinished=0) == BACKLOGGED
    # Longer services: the last third's 15 are no more than 5 x 3, and then no more than one service.
    assert load_label(arrivals, waits, np.full(6, 3.0), last_start_s=9.0, unfinished=0) == BACKLOGGED
    assert load_label(arrivals, waits, np.full(6, 15.0), last_start_s=9.0, unfinished=0) == STABLE


def test_goodput_and_attainment_are_shares_of_what_was_offered():
    met, offered = np.array([True, True, False, False]), np.array([True, True, True, False])
    assert attainment(met, offered) == 2 / 3
    assert goodput_per_s(met, 0.5) == 4.0
    assert goodput_per_s(met, -1.0) is None


@pytest.mark.parametrize(
    ("share", "rows", "known"), [(0.9, 10, True), (0.9, 9, False), (0.99, 100, True), (0.5, 2, True), (0.5, 1, False)]
)
def test_a_quantile_is_known_from_one_value_expected_beyond_it(share, rows, known):
    assert is_known(share, rows) is known
