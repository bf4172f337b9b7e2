"""``ppdsim crossover``: everything about one scenario's crossover, analytical and simulated, as one answer."""

from __future__ import annotations

from collections.abc import Callable

from ppdsim import compose
from ppdsim.answers import CrossoverAnswer
from ppdsim.crossover.formulas import formulas
from ppdsim.crossover.pair_simulator import PairSimulator
from ppdsim.crossover.plan import make_plan
from ppdsim.crossover.simulation import simulated
from ppdsim.errors import ProfileError
from ppdsim.profile import Profile
from ppdsim.setup import Setup
from ppdsim.turn import TurnModel


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while simulating; `answer` is what the formulas had found by then."""

    def __init__(self, answer: CrossoverAnswer) -> None:
        super().__init__()
        self.answer = answer


def crossover(
    setup: Setup,
    *,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CrossoverAnswer:
    """Answer a scenario's crossover question.

    Parameters
    ----------
    setup : Setup
        The scenario as a crossover plays it (`ppdsim.setup.resolve`).

    Raises
    ------
    ScenarioError
        If the scenario has no crossover block, or a turn does not fit the KV pool.
    ProfileError
        If P's profile has no hand-off for one of the arms, or P's and D's profiles have different numbers of draws.
    Interrupted
        On Ctrl-C while simulating.
    """
    on_p, on_d = (machine.profile for machine in setup.pair())
    central = _pair(setup, compose.central(on_p), compose.central(on_d))
    samples = _pair(setup, *(compose.samples(profile, another_run=True) for profile in _same_draws(on_p, on_d)))
    plan = make_plan(setup, central, samples, seed=seed)
    answer = formulas(plan, seed=seed)
    draws = (compose.some_draws(profile, plan.grid.draws, another_run=True) for profile in (on_p, on_d))
    simulator = PairSimulator(plan, [_pair(setup, *models) for models in zip(*draws, strict=True)])
    try:
        return simulated(plan, simulator, answer, progress)
    except KeyboardInterrupt:
        raise Interrupted(answer) from None


def _pair(setup: Setup, on_p: TurnModel, on_d: TurnModel) -> TurnModel:
    """Return D's model, which a P of another kind hands over to; one kind of machine is its own sender."""
    model = setup.as_run(on_d)
    sender, receiver = setup.pair()
    return model if sender.profile is receiver.profile else model.sent_by(setup.as_run(on_p))


def _same_draws(on_p: Profile, on_d: Profile) -> tuple[Profile, Profile]:
    """Return both profiles, whose draws are paired row by row: the same drift on both machines."""
    counts = [max(len(record.draws) for record in profile.curves) for profile in (on_p, on_d)]
    if counts[0] != counts[1]:
        raise ProfileError(
            f"P's profile {on_p.id} has {counts[0]} draws and D's {on_d.id} has {counts[1]}; expected the same number, "
            "because they are paired: make one of them again with 'ppdsim fit'"
        )
    return on_p, on_d
