"""A simulated crossing leaves out the points at which an arm is so overloaded that turns time out."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from crossover_cases import against, plan, small_answer

from ppdsim.analytical.crossing import _search, sampled_crossing
from ppdsim.answers import ANALYTICAL, ArmChoice, BreakEvenPoint, CrossingKind, HostInterval
from ppdsim.crossover.arms import arm_curve
from ppdsim.crossover.overload import overloaded
from ppdsim.crossover.simulation import _crossing, _point
from ppdsim.errors import ScenarioError
from ppdsim.metrics import BACKLOGGED, OVERLOADED, STABLE

NAN, INF = float("nan"), float("inf")


class PairSimulator:
    """Gains that were simulated elsewhere: J of each arm by new tokens."""

    def __init__(self, append: dict[int, float], handoff: dict[int, float]) -> None:
        self._append, self._handoff = append, handoff

    def append(self, cached, new):
        return _simulated(self._append[new])

    def handoff(self, comparison, cached, new):
        return _simulated(self._handoff[new])


def _simulated(j_s: float) -> SimpleNamespace:
    return SimpleNamespace(central=SimpleNamespace(j_s=lambda gamma: j_s), j_s=lambda gamma: np.full(3, j_s))


def crossing(append: dict[int, float], handoff: dict[int, float]):
    plan = SimpleNamespace(grid=SimpleNamespace(gamma=1.0))
    sizes = sorted(append)
    return _crossing(
        plan, PairSimulator(append, handoff), None, np.array(sizes, dtype=float), [(0, size) for size in sizes]
    )


def test_a_point_that_an_arm_cannot_carry_is_not_compared():
    found = crossing({1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}, {1: 2.0, 2: 2.5, 3: 2.5, 4: NAN})
    assert found.kind is CrossingKind.VALUE
    assert found.values == pytest.approx((2.5,))
    # Every draw has the same two curves, so all of them cross.
    assert found.share_without == 0.0


@pytest.mark.parametrize(
    ("append", "handoff", "kind"),
    [
        (1.0, NAN, CrossingKind.P_NOT_CARRIED),
        (NAN, 1.0, CrossingKind.D_NOT_CARRIED),
        (NAN, NAN, CrossingKind.OVERLOADED),
    ],
)
def test_an_arm_that_carried_nothing_is_named_and_the_other_never_wins_always(append, handoff, kind):
    found = crossing({1: append, 2: append}, {1: handoff, 2: handoff})
    assert (found.kind, found.values, found.interval, found.share_carried) == (kind, (), None, 0.0)


def test_arms_that_are_carried_at_different_sizes_only_are_overloaded():
    assert crossing({1: 1.0, 2: NAN}, {1: NAN, 2: 1.0}).kind is CrossingKind.OVERLOADED


@pytest.mark.parametrize(("append", "kind"), [(1.0, CrossingKind.D_WHERE_BOTH), (9.0, CrossingKind.P_WHERE_BOTH)])
def test_always_is_said_of_a_whole_axis_only(append, kind):
    found = crossing({1: append, 2: append, 3: append}, {1: 2.0, 2: 2.0, 3: NAN})
    assert (found.kind, found.values, found.share_carried) == (kind, (), pytest.approx(2 / 3))
    assert crossing({1: append}, {1: 2.0}).kind is kind  # one point is no axis


@pytest.mark.parametrize("gain", [[1.0, np.inf, -1.0], [1.0, np.nan, -1.0]])
def test_a_change_of_arm_across_a_point_that_is_not_carried_is_interpolated_over_it(gain):
    found = sampled_crossing(np.array([0.0, 1.0, 4.0]), np.array(gain), np.array([gain, gain]))
    assert (found.values, found.interval, found.share_carried) == ((2.0,), None, pytest.approx(2 / 3))


def test_a_formula_whose_server_fills_up_crosses_there():
    """J_D = 1 / (1 - x) passes J_P = 4 at 0.75, and beyond x = 1 D is not carried; in a draw it passes at 0.5."""

    def gain(level, x):
        with np.errstate(divide="ignore"):
            return np.where(x < 1.0, level - 1.0 / (1.0 - np.minimum(x, 1.0)), -np.inf)

    scan = np.array([0.0, 0.2, 0.4, 0.6, 1.2, 1.4])
    found = _search(lambda x: gain(4.0, x), np.array([gain(4.0, scan), gain(2.0, scan)]), scan)
    assert found.values == pytest.approx((0.75,), abs=1e-6)
    assert (found.kind, found.share_carried) == (CrossingKind.VALUE, pytest.approx(4 / 6))
    assert 0.4 < found.interval.low < 0.6 < found.interval.high < 1.2


def test_what_the_traffic_overloads_is_said_and_has_no_j():
    answer = small_answer(
        "crossover.turn_rate_per_s=400", "crossover.turns=60", "crossover.draws=1", *against("nvlink")
    )
    for curve in answer.curves:
        assert OVERLOADED in curve.simulated_label
        for label, *numbers in zip(
            curve.simulated_label, curve.simulated_j_s, curve.simulated_ttft_s, curve.simulated_lost_s, strict=True
        ):
            assert (label == OVERLOADED) is bool(np.isnan(numbers).all())
        assert all(np.isnan(j) == np.isinf(wait) for j, wait in zip(curve.j_s, curve.wait_s, strict=True))
        assert max(np.nan_to_num(curve.j_s)) < 100.0
    said = [text for text in answer.overloaded if text.startswith(f"{OVERLOADED} at ")]
    assert any("append-d, prompt of 8,192 tokens, at " in text for text in said)
    assert any("p-full over nvlink, prompt of 8,192 tokens, previous answer of 0, at" in text for text in said)
    # A turn of 6.5k new tokens keeps D busy for a quarter of a second.
    carried = re.search(r"append-d.* less than ([\d.]+) to ", " ".join(said))
    assert 1.0 < float(carried[1]) < 10.0
    kinds = {c.kind for c in answer.crossings if c.source != ANALYTICAL}
    assert kinds.isdisjoint({CrossingKind.ALWAYS_D, CrossingKind.ALWAYS_P})
    assert not any(re.search(r"up to \d{5,} ms", text) for text in answer.findings)


def test_a_turn_that_an_arm_does_not_carry_has_no_simulated_break_even():
    samples = {
        label: SimpleNamespace(
            central=SimpleNamespace(label=label, ttft_s=ttft_s, lost_s=lost_s),
            ttft_s=np.array([ttft_s, ttft_s + 1.0]),
            lost_s=np.array([lost_s, lost_s]),
        )
        for label, ttft_s, lost_s in ((STABLE, 1.0, 4.0), ("handed over", 3.0, 0.0), (OVERLOADED, NAN, NAN))
    }
    plan = SimpleNamespace(grid=SimpleNamespace(residents=4))
    point = BreakEvenPoint(
        against=ArmChoice(arm="p-full", transport="tcp"),
        cached_tokens=10,
        new_tokens=10,
        previous_output_tokens=0,
        prefill_cache="warm",
        handoff_stall_s=0.0,
        case="",
        n_star=HostInterval(this_host=1.0, value=1.0, low=None, high=None),
        gamma_star=HostInterval(this_host=1.0, value=1.0, low=None, high=None),
        simulated_n_star=None,
        simulated_gamma_star=None,
        extrapolated=False,
    )

    def of(append, handoff):
        simulator = SimpleNamespace(append=lambda *_: samples[append], handoff=lambda *_: samples[handoff])
        return _point(plan, simulator, None, point)

    assert of(STABLE, OVERLOADED) == of(OVERLOADED, STABLE) == point
    found = of(STABLE, "handed over")
    assert (found.simulated_gamma_star.this_host, found.simulated_n_star.this_host) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("wait_s", "labels", "where"),
    [
        ((INF, 0.0, INF), (), "2 of 3 cache rates by the formula"),
        ((INF, INF, INF), (), "all cache rates by the formula"),
        ((0.0, 0.0, 0.0), (STABLE, OVERLOADED, BACKLOGGED), "1 of 3 cache rates simulated"),
        ((INF, INF, INF), (STABLE, BACKLOGGED, STABLE), "all cache rates by the formula"),
        (
            (INF, 0.0, 0.0),
            (OVERLOADED, OVERLOADED, OVERLOADED),
            "1 of 3 cache rates by the formula and all cache rates simulated",
        ),
    ],
)
def test_the_sentence_of_an_overloaded_arm_counts_its_cache_rates(wait_s, labels, where):
    asked, answer = plan(), "{} at {:.3g} turns a second: {}, at {}. By the formula this arm carries less than "
    arms = {
        "append-d, prompt of 8,192 tokens": None,
        "p-full over nvlink, prompt of 8,192 tokens, previous answer of 0": asked.comparisons[0],
    }
    for name, comparison in arms.items():
        curve = arm_curve(asked, comparison, 8192, (0.2, 0.5, 0.9))
        (found,) = overloaded(asked, [replace(curve, wait_s=wait_s, simulated_label=labels), curve])
        assert found.startswith(answer.format(OVERLOADED, asked.traffic.rate_per_s, name, where))


def test_what_the_traffic_does_not_overload_is_not_said():
    assert small_answer(*against("nvlink")).overloaded == ()


def test_a_pool_that_just_holds_the_turns_answers_and_a_smaller_one_is_refused():
    """A prompt of 8192 with 512 reserved, four residents of 2048 and a page each, three pages of rounding."""
    least = 8192 + 512 + 4 * (2048 + 64) + 3 * 64
    quick = ("crossover.turns=2", "crossover.draws=1", "crossover.turn_rate_per_s=0.05", *against("nvlink"))
    answer = small_answer(f"fleet.1.kv_pool_tokens={least}", *quick)
    assert {label for curve in answer.curves for label in curve.simulated_label} == {"STABLE"}
    with pytest.raises(ScenarioError, match=f"needs {least}, D's KV pool holds {least - 64}"):
        small_answer(f"fleet.1.kv_pool_tokens={least - 64}", *quick)


def test_no_size_that_fits_the_pool_is_said():
    assert crossing({}, {}).kind is CrossingKind.NO_ROOM
