"""A simulated answer outside the formula's interval is told with both numbers, at the turn nearest to it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from crossover_cases import plan

from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.answers import ANALYTICAL, SIMULATED, WITH_WAITS, ArmChoice, Crossing, CrossingKind, HostInterval, Interval
from ppdsim.crossover.differences import _account, _explanation, _gap, _is_near, _nearest, crossing_differences
from ppdsim.metrics import OVERLOADED, STABLE
from ppdsim.types import Arm, Transport

NVLINK = ArmComparison(arm=Arm.P_FULL, transport=Transport.NVLINK)


def crossing(*values: float, axis: str = "r", **changes) -> Crossing:
    found = Crossing(
        against=ArmChoice(arm="p-full", transport="nvlink"),
        axis=axis,
        fixed_tokens=8192,
        previous_output_tokens=0,
        prefill_cache="warm",
        gamma=1.0,
        residents=4,
        handoff_stall_s=0.0,
        kind=CrossingKind.VALUE if values else CrossingKind.ALWAYS_D,
        values=values,
        interval=None,
        share_without=0.0,
        extrapolated=False,
    )
    return replace(found, **changes)


class PairSimulator:
    """Turns that were simulated elsewhere; the arms carry all but some appends."""

    def __init__(self, *pairs: tuple[int, int], overloaded: tuple[int, int] | None = None) -> None:
        self._pairs, self._overloaded = pairs, overloaded

    def pairs(self, comparison):
        return self._pairs

    def append(self, cached, new):
        label = OVERLOADED if (cached, new) == self._overloaded else STABLE
        return SimpleNamespace(central=SimpleNamespace(label=label, ttft_s=0.1, lost_s=0.0))

    def handoff(self, comparison, cached, new):
        return SimpleNamespace(central=SimpleNamespace(label=STABLE, ttft_s=0.1, lost_s=0.0))


@pytest.mark.parametrize(
    ("formula", "found", "expected"),
    [
        # Half a percentage point of r is not worth a sentence, nor are 5 % of m*.
        (crossing(0.5), crossing(0.504), None),
        (crossing(0.5), crossing(0.506), "the simulation puts r* at 0.506, the formula with waits at 0.500"),
        (crossing(1000.0, axis="new_tokens"), crossing(1049.0, axis="new_tokens"), None),
        (
            crossing(1000.0, axis="new_tokens"),
            crossing(1051.0, axis="new_tokens"),
            "the simulation puts m* at 1051, the formula with waits at 1000",
        ),
        # Of several crossings the last ones are compared and printed.
        (crossing(0.2, 0.5), crossing(0.3, 0.5), None),
        (crossing(0.2, 0.5), crossing(0.2, 0.7), "the simulation puts r* at 0.700, the formula with waits at 0.500"),
        # The interval is another host's, and this host's number may lie outside of it.
        (crossing(0.5, interval=Interval(value=0.6, low=0.55, high=0.65)), crossing(0.52), None),
        (crossing(), crossing(), None),
        (crossing(), crossing(0.2, 0.7), "the formula with waits says always D, the simulation r* = 0.700"),
    ],
)
def test_a_gap_is_what_lies_outside_interval_and_slack(formula, found, expected):
    assert _gap(formula, found) == expected


def test_a_simulated_number_is_near_within_5_per_cent_of_either_host():
    formula = HostInterval(this_host=10.0, value=10.0, low=9.0, high=11.0)
    assert [_is_near(formula, n) for n in (8.5, 8.6, 10.0, 11.5, 11.6)] == [False, True, True, True, False]
    outside = HostInterval(this_host=5.0, value=10.0, low=None, high=None)
    assert [_is_near(outside, n) for n in (4.7, 4.8, 5.2, 5.3)] == [False, True, True, False]


def test_a_simulated_crossing_is_held_against_the_formula_with_waits():
    formulas = [crossing(0.5, source=ANALYTICAL), crossing(source=WITH_WAITS)]
    found = crossing(source=SIMULATED, kind=CrossingKind.ALWAYS_P)
    (sentence,) = crossing_differences(None, PairSimulator(), formulas, [(NVLINK, found)])
    assert sentence == (
        "p-full over nvlink, prompt of 8192 tokens, previous answer of 0: "
        "the formula with waits says always D, the simulation always P."
    )


def test_the_nearest_turn_has_the_crossings_fixed_tokens_and_both_arms_carried():
    simulator = PairSimulator((4096, 4096), (6144, 2048), (8192, 300), (8192, 100), (100, 8192), (8192, 200))
    assert _nearest(simulator, NVLINK, crossing(0.7), 0.7) == (6144, 2048)
    of_m = crossing(210.0, axis="new_tokens")
    assert _nearest(simulator, NVLINK, of_m, 210.0) == (8192, 200)
    assert _nearest(PairSimulator((8192, 200), (8192, 100), overloaded=(8192, 200)), NVLINK, of_m, 210.0) == (8192, 100)
    assert _nearest(simulator, NVLINK, of_m, None) is None


def test_an_account_has_both_waits_and_both_delays_in_ms():
    sample = SimpleNamespace(ttft_s=1.35, lost_s=0.4567)
    assert _account("append", sample, 0.1, 0.1234, 0.5004) == (
        "the append waits 1250 ms (formula: 123) and delays the other streams by 457 stream-ms (formula: 500)"
    )


def test_an_explanation_has_the_accounts_of_both_arms_at_its_turn():
    """The wait of a simulated turn is what its TTFT has beyond the idle one; a formula's stall is of all who decode."""
    asked, cached, new = plan(), np.array([4096.0]), np.array([256.0])
    loaded = asked.loaded(NVLINK, cached, new)
    simulated = PairSimulator().append(4096, 256).central
    assert loaded.decoding_turns > 0.0
    accounts = []
    for name, arm, transport, wait_s in (
        ("append", Arm.APPEND_D, Transport.NONE, loaded.wait_d_s),
        ("hand-off", Arm.P_FULL, Transport.NVLINK, loaded.wait_p_s),
    ):
        idle_s = asked.central.ttft_s(arm, transport, 4096.0, 256.0, 4096.0)
        stall_s = asked.central.stall_s(
            arm, 4096.0, 256.0, float(asked.grid.residents), asked.grid.resident_context_tokens
        )
        lost_s = (asked.grid.residents + loaded.decoding_turns) * stall_s
        accounts.append(_account(name, simulated, float(idle_s), float(wait_s[0]), float(np.ravel(lost_s)[0])))
    assert _explanation(asked, PairSimulator(), NVLINK, (4096, 256)) == (
        f" With 256 new tokens on 4096, in the simulation {accounts[0]}; {accounts[1]}."
    )
    assert _explanation(asked, PairSimulator(), NVLINK, None) == ""


@pytest.mark.parametrize(("formula", "found"), [((0.3, 0.5), (0.2, 0.7)), ((0.2, 0.7), ()), ((0.2, 0.3), (0.7,))])
def test_a_difference_is_explained_at_the_last_crossing_simulated_else_the_formulas(formula, found):
    formulas = [crossing(*formula, source=WITH_WAITS)]
    simulated = [(NVLINK, crossing(*found, source=SIMULATED))]
    (sentence,) = crossing_differences(plan(), PairSimulator((1638, 6554), (5734, 2458)), formulas, simulated)
    assert ". With 2458 new tokens on 5734, in the simulation " in sentence
