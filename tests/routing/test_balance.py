"""sglang-router's load balancers: each pick by hand, and what holds for all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppdsim.routing.balance import BALANCERS, Candidates


def nodes(loads, *, shares=None, number=0, last=None, seed=0) -> Candidates:
    def cached_share():
        assert shares is not None
        return shares

    return Candidates(loads=loads, cached_share=cached_share, number=number, last=last, rng=np.random.default_rng(seed))


@given(
    loads=st.lists(st.integers(0, 500), min_size=1, max_size=8),
    number=st.integers(0, 1000),
    seed=st.integers(0, 100),
    data=st.data(),
)
@pytest.mark.parametrize("name", BALANCERS)
def test_every_pick_is_a_node_and_repeats_with_the_seed(name, loads, number, seed, data):
    shares = data.draw(st.lists(st.floats(0, 1), min_size=len(loads), max_size=len(loads)))
    last = data.draw(st.one_of(st.none(), st.integers(0, len(loads) - 1)))
    picks = {BALANCERS[name](nodes(loads, shares=shares, number=number, last=last, seed=seed)) for _ in range(3)}
    assert len(picks) == 1
    assert 0 <= picks.pop() < len(loads)


def test_round_robin_goes_round():
    assert [BALANCERS["round_robin"](nodes([9, 0, 0], number=n)) for n in range(5)] == [0, 1, 2, 0, 1]


def test_random_reaches_every_node_about_as_often():
    candidates = nodes([9, 0, 0, 0])
    counts = np.bincount([BALANCERS["random"](candidates) for _ in range(4000)], minlength=4)
    # Four standard deviations of a binomial with n = 4000, p = 1/4: 4 x 27.
    assert np.all(np.abs(counts - 1000) < 110)


def test_power_of_two_never_takes_the_fullest_and_favours_the_emptiest():
    candidates = nodes([0, 5, 10])
    counts = np.bincount([BALANCERS["power_of_two"](candidates) for _ in range(3000)], minlength=3)
    # Of the three pairs, two have node 0 and one is (1, 2).
    assert counts[2] == 0
    assert abs(counts[0] - 2000) < 110


@pytest.mark.parametrize(
    ("loads", "shares", "picked"),
    [
        ([3, 0], [0.31, 0.0], 0),  # a match above 0.3
        ([3, 0], [0.3, 0.0], 1),  # not above: least loaded
        ([64, 0], [0.9, 0.0], 0),  # a lead of 64 is not above 64
        ([65, 0], [0.9, 0.0], 1),  # out of balance
        ([195, 130], [0.9, 0.0], 0),  # a lead of 65, but 195 is not above 1.5 x 130
        ([196, 130], [0.9, 0.0], 1),
    ],
)
def test_cache_aware_follows_the_match_while_loads_are_in_balance(loads, shares, picked):
    assert BALANCERS["cache_aware"](nodes(loads, shares=shares)) == picked


def test_manual_sticks():
    assert BALANCERS["manual"](nodes([5, 1, 1])) == 1
    assert BALANCERS["manual"](nodes([5, 1, 1], last=0)) == 0
