"""The bracket encloses the limit, whatever it is; a bounded number of questions; a dip below the limit is found."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppdsim.capacity.search import REACH, search

RATES = st.floats(1e-3, 1e3)


@given(limit=RATES, start=RATES, tolerance=st.floats(0.001, 0.5), step=st.sampled_from([1.1, 2.0]))
def test_a_limit_within_reach_is_bracketed(limit: float, start: float, tolerance: float, step: float) -> None:
    asked: list[float] = []

    def keeps(rate: float) -> bool:
        asked.append(rate)
        return rate <= limit

    found = search(keeps, start, tolerance=tolerance, step=step)
    assert len(asked) == len(set(asked)) <= 60
    assert found.low <= limit < found.high
    if found.kind == "rate":
        assert found.high <= found.low * (1.0 + tolerance) * (1.0 + 1e-12)
    elif found.kind == "at least":
        assert found.high == math.inf
        assert found.low >= start * REACH / 4.0
    else:
        assert found.low == 0.0
        assert found.high <= start / REACH * 4.0


@given(smaller=RATES, factor=st.floats(1.0, 100.0))
def test_a_larger_limit_gives_no_smaller_answer(smaller: float, factor: float) -> None:
    first = search(lambda rate: rate <= smaller, 1.0, tolerance=0.02)
    second = search(lambda rate: rate <= smaller * factor, 1.0, tolerance=0.02)
    assert second.low >= first.low
    assert second.high >= first.high


def test_a_rate_below_the_limit_that_breaks_it_lowers_the_answer() -> None:
    found = search(lambda rate: rate <= 8.0 and not 3.9 <= rate <= 4.5, 1.0, tolerance=0.02)
    assert found.kind == "rate"
    assert found.low < 3.9 <= found.high <= 4.5


@pytest.mark.parametrize(
    ("keeps", "kind", "low", "high"),
    [(lambda rate: True, "at least", REACH, math.inf), (lambda rate: False, "none", 0.0, 1.0 / REACH)],
)
def test_always_and_never_end_at_the_reach(keeps, kind, low, high) -> None:
    asked: list[float] = []
    found = search(lambda rate: asked.append(rate) or keeps(rate), 1.0, tolerance=0.02)
    assert (found.kind, found.low, found.high) == (kind, low, high)
    assert len(asked) == 1 + round(math.log2(REACH))
