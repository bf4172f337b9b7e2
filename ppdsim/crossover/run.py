"""``ppdsim crossover``: everything about one scenario's crossover, analytical and simulated, as one answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ppdsim import compose
from ppdsim.answers import CrossoverAnswer
from ppdsim.crossover.bench import Bench
from ppdsim.crossover.formulas import formulas
from ppdsim.crossover.plan import make_plan
from ppdsim.crossover.simulation import simulated
from ppdsim.profile import Profile
from ppdsim.scenario import Scenario


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while simulating; `answer` is what the formulas had found by then."""

    def __init__(self, answer: CrossoverAnswer) -> None:
        super().__init__()
        self.answer = answer


def crossover(
    scenario: Scenario,
    profile: Profile,
    *,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CrossoverAnswer:
    """Answer a scenario's crossover question.

    Raises
    ------
    ScenarioError
        If the scenario has no crossover block, or a turn does not fit the KV pool.
    ProfileError
        If the profile has no hand-off for one of the arms.
    Interrupted
        On Ctrl-C while simulating.
    """
    cloud = compose.cloud(profile, another_run=True)
    plan = make_plan(scenario, profile, compose.central(profile), cloud, np.random.default_rng(seed))
    answer = formulas(plan, seed=seed)
    bench = Bench(plan, compose.some_draws(profile, plan.grid.draws, another_run=True))
    try:
        return simulated(plan, bench, answer, progress)
    except KeyboardInterrupt:
        raise Interrupted(answer) from None
