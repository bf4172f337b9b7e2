"""Where the better of two changes: lines worked out by hand, pairing, and what cannot be told."""

from __future__ import annotations

import numpy as np
import pytest
from sweep.cases import plan, row

from ppdsim.analytical.replications import draws_of_mean
from ppdsim.sweep.crossings import DRAWS, SEED, crossings_of

POLICIES = "routing.policy=always-p,cost-aware"
RATES = "workload.arrivals.rate_per_s=1,8,4,2"
NUMBERS = (1.0, 8.0, 4.0, 2.0)
NOISE_S = (0.0, 3.0, -1.0)


def filled(made, value, **more):
    """Return rows whose ``j_s`` is ``value(policy number, rate, seed)``."""
    return {
        (4 * policy + place, seed): row(j_s=value(policy, rate, seed), **more)
        for policy in range(2)
        for place, rate in enumerate(NUMBERS)
        for seed in made.seeds
    }


def by(found, measure="j_s"):
    return [each for each in found if each.measure == measure]


@pytest.fixture(scope="module")
def made():
    return plan(POLICIES, RATES, seeds=3)


def test_two_lines_meet_where_algebra_says_and_shared_noise_cancels(made) -> None:
    rows = filled(made, lambda policy, rate, seed: (10.0 + rate, 12.0 + rate / 2)[policy] + NOISE_S[seed])
    (found,) = by(crossings_of(made, rows))
    assert found.values == pytest.approx((4.0,))
    # The gain is the same in every seed: no spread, so no interval.
    assert (found.interval, found.share_without) == (None, None)
    assert (found.better_below, found.better_above) == ("always-p", "cost-aware")
    assert (found.key, found.between, found.low, found.high) == ("workload.arrivals.rate_per_s", "routing.policy", 1, 8)
    assert found.overloaded == ()


def test_noise_of_its_own_widens_the_interval(made) -> None:
    rows = filled(made, lambda policy, rate, seed: (10.0 + rate, 12.0 + rate / 2 + NOISE_S[seed] / 4)[policy])
    (found,) = by(crossings_of(made, rows))
    mean = np.mean(NOISE_S) / 4
    assert found.values == pytest.approx((4.0 + 2 * mean,))
    assert found.interval.low < found.values[0] < found.interval.high
    # Student's t with 2 degrees of freedom, in units of the rate: the lines part by half a second a unit.
    half = 2.919986 * np.std(NOISE_S, ddof=1) / 4 / np.sqrt(3) * 2
    assert found.interval.high == pytest.approx(found.values[0] + half, rel=0.1)


def test_the_interval_is_the_central_90_percent_of_the_draws_of_the_line(made) -> None:
    """The lines part by (rate - 4) / 2 less a noise by seed: a draw that moves the gain by d crosses at 4 + 2 d."""
    noise_s = np.array([0.3, -0.1, 0.05])
    rows = filled(made, lambda policy, rate, seed: (10.0 + rate, 12.0 + rate / 2 + noise_s[seed])[policy])
    (found,) = by(crossings_of(made, rows))
    moved = draws_of_mean(noise_s[:, None], np.random.default_rng(SEED), DRAWS)[:, 0]
    crossed = 4.0 + 2.0 * moved
    # Draws that leave the grid have no crossing.
    crossed = crossed[(crossed > 1.0) & (crossed < 8.0)]
    assert (found.interval.low, found.interval.high) == pytest.approx(
        tuple(np.quantile(crossed, [0.05, 0.95])), rel=0.02
    )
    assert np.mean(crossed < found.interval.low) == pytest.approx(0.05, abs=0.01)
    assert np.mean(crossed > found.interval.high) == pytest.approx(0.05, abs=0.01)


def test_where_more_is_better_the_larger_one_wins(made) -> None:
    rows = {
        key: {**each, "goodput_per_s": each["j_s"]}
        for key, each in filled(made, lambda policy, rate, seed: (10.0 + rate, 12.0 + rate / 2)[policy]).items()
    }
    (found,) = by(crossings_of(made, rows), "goodput_per_s")
    assert (found.better_below, found.better_above) == ("cost-aware", "always-p")


def test_no_crossing_says_who_is_better_throughout(made) -> None:
    (found,) = by(crossings_of(made, filled(made, lambda policy, rate, seed: rate + policy)))
    assert (found.values, found.interval, found.share_without) == ((), None, None)
    assert found.better_below == found.better_above == "always-p"


def test_two_that_are_alike_have_no_better_one(made) -> None:
    (found,) = by(crossings_of(made, filled(made, lambda policy, rate, seed: rate)))
    assert (found.values, found.better_below, found.better_above) == ((), "", "")


def test_several_crossings_are_all_listed(made) -> None:
    noise_s = (0.01, -0.01, 0.0)
    gains_s = {1.0: 1.0, 2.0: -1.0, 4.0: -1.0, 8.0: 1.0}
    rows = filled(made, lambda policy, rate, seed: (gains_s[rate] + noise_s[seed]) * policy)
    (found,) = by(crossings_of(made, rows))
    assert found.values == pytest.approx((1.5, 6.0))
    # The median of the draws.
    assert found.interval.value == pytest.approx(6.0, abs=0.01)


def test_overload_is_named_and_points_with_a_missing_run_are_left_out(made) -> None:
    rows = filled(made, lambda policy, rate, seed: (10.0 + rate, 12.0 + rate / 2)[policy])
    rows[4 + 1, 2] = {**rows[4 + 1, 2], "label": "OVERLOADED"}
    (found,) = by(crossings_of(made, rows))
    assert found.overloaded == (8.0,)
    del rows[1, 0]
    (found,) = by(crossings_of(made, rows))
    assert (found.low, found.high, found.values) == (1.0, 4.0, (4.0,))
    for seed in made.seeds:
        rows[2, seed] = {**rows[2, seed], "j_s": None}
    (found,) = by(crossings_of(made, rows))
    assert (found.high, found.values) == (2.0, ())


def test_one_seed_has_a_crossing_without_an_interval() -> None:
    single = plan(POLICIES, RATES, seeds=1)
    rows = filled(single, lambda policy, rate, seed: (10.0 + rate, 12.0 + rate / 2)[policy])
    (found,) = by(crossings_of(single, rows))
    assert found.values == pytest.approx((4.0,))
    assert (found.interval, found.share_without) == (None, None)


def test_every_pair_is_compared_at_every_place_of_the_other_keys() -> None:
    wide = plan("routing.policy=always-p,always-d,cost-aware", "transport=nvlink,tcp", "routing.gamma=1,2", seeds=1)
    rows = {(number, 0): row(j_s=float(number % 5)) for number in range(len(wide.points))}
    found = by(crossings_of(wide, rows))
    policies = [(each.first, each.second, each.fixed) for each in found if each.between == "routing.policy"]
    assert len(policies) == len(set(policies)) == 3 * 2
    transports = [each.fixed for each in found if each.between == "transport"]
    assert transports == [(("routing.policy", name),) for name in ("always-p", "always-d", "cost-aware")]


def test_without_a_key_of_words_there_is_none() -> None:
    numeric = plan("routing.gamma=1,2", "fleet.1.count=1,2", seeds=1)
    assert crossings_of(numeric, {(number, 0): row() for number in range(4)}) == ()
