"""A simulated crossing leaves out the points at which an arm is so overloaded that turns time out."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ppdsim.answers import CrossingKind
from ppdsim.crossover.simulation import _crossing

NAN = float("nan")


class Bench:
    """Gains that were simulated elsewhere: J of each arm by new tokens."""

    def __init__(self, append: dict[int, float], handoff: dict[int, float]) -> None:
        self._append, self._handoff = append, handoff

    def append(self, cached, new):
        return _simulated(self._append[new])

    def handoff(self, question, cached, new):
        return _simulated(self._handoff[new])


def _simulated(j_s: float) -> SimpleNamespace:
    return SimpleNamespace(middle=SimpleNamespace(j_s=lambda gamma: j_s), j_s=lambda gamma: np.full(3, j_s))


def crossing(append: dict[int, float], handoff: dict[int, float]):
    plan = SimpleNamespace(grid=SimpleNamespace(gamma=1.0))
    sizes = sorted(append)
    return _crossing(plan, Bench(append, handoff), None, np.array(sizes, dtype=float), [(0, size) for size in sizes])


def test_a_point_that_an_arm_cannot_carry_is_not_compared():
    found = crossing({1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}, {1: 2.0, 2: 2.5, 3: 2.5, 4: NAN})
    assert found.kind is CrossingKind.VALUE
    assert found.values == pytest.approx((2.5,))


@pytest.mark.parametrize(
    ("append", "handoff", "kind"),
    [(1.0, NAN, CrossingKind.ALWAYS_D), (NAN, 1.0, CrossingKind.ALWAYS_P)],
)
def test_the_arm_that_carries_the_turns_is_the_answer_where_the_other_never_does(append, handoff, kind):
    found = crossing({1: append, 2: append}, {1: handoff, 2: handoff})
    assert (found.kind, found.values, found.interval) == (kind, (), None)
