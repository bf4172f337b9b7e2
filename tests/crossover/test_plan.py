"""Where a crossover looks: the grid's cache rates, finer ones near the crossing, and the report's sliders."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from crossover_cases import plan

from ppdsim.crossover import plan as module
from ppdsim.crossover.plan import make_plan, rates_of, tokens_at
from ppdsim.errors import ScenarioError
from ppdsim.types import Arm


@pytest.mark.parametrize(
    ("crossings", "expected"),
    [
        ((), (0.1234, 0.9961)),
        # Two steps of 0.02 on either side, to four digits.
        ((0.50004,), (0.1234, 0.46, 0.48, 0.5, 0.52, 0.54, 0.9961)),
        # Of several crossings the last; the steps there are a quarter of the distance from 1.
        ((0.5, 0.96), (0.1234, 0.94, 0.95, 0.96, 0.97, 0.98, 0.9961)),
        # A cache rate of 0 is no hand-off of a next turn, and beyond the largest rate nothing is looked at.
        ((0.04,), (0.02, 0.04, 0.06, 0.08, 0.1234, 0.9961)),
        ((0.994,), (0.1234, 0.991, 0.9925, 0.994, 0.9955, 0.9961)),
    ],
)
def test_rates_are_the_grids_and_finer_ones_around_the_last_crossing(monkeypatch, crossings, expected):
    monkeypatch.setattr(module, "cache_rate_crossing", lambda *_, **__: SimpleNamespace(values=crossings))
    asked = SimpleNamespace(grid=SimpleNamespace(cache_rates=(0.12341,)), central=None, samples=None, loaded=None)
    # 32 of 8192 tokens stay new at the largest rate.
    assert rates_of(asked, None, 8192) == expected


def test_at_least_one_token_of_a_prompt_is_new():
    assert tokens_at(100, 0.25) == (25, 75)
    assert tokens_at(100, 0.99) == (99, 1)
    assert tokens_at(100, 1.0) == (99, 1)


def test_sliders_offer_powers_of_two_and_the_scenarios_own_values():
    assert plan("crossover.residents=6").slider_residents == (0, 1, 2, 4, 6, 8, 16, 32, 64, 128)
    assert plan("crossover.gamma=0.7").slider_gammas == (0.0, 0.1, 0.25, 0.5, 0.7, 1.0, 2.0, 5.0)


@pytest.mark.parametrize("append", [True, False])
def test_a_crossover_compares_the_append_with_a_p_arm(append):
    known = plan()
    arms = tuple(choice for choice in known.grid.arms if (choice.arm is Arm.APPEND_D) == append)
    scenario = known.scenario.model_copy(update={"crossover": known.grid.model_copy(update={"arms": arms})})
    with pytest.raises(ScenarioError, match="needs append-d and at least one P arm"):
        make_plan(replace(known.setup, scenario=scenario), known.central, known.samples, seed=0)
