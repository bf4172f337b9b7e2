"""A sweep before it runs: every point of the grid as a checked scenario, and the seeds that all of them share.

The same seeds at every point make differences between points paired: arrivals, lengths and think times come from the
seed alone wherever the grid does not change the workload, so what differs is what the keys did.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ppdsim import library
from ppdsim.des.cluster import Cluster
from ppdsim.des.oversized import refuse
from ppdsim.des.turns import Turns
from ppdsim.errors import InputError, PpdsimError
from ppdsim.limits import SEEDS, SWEEP_ROWS
from ppdsim.scenario import Scenario, load
from ppdsim.scenario.keys import Command
from ppdsim.setup import check_asked, resolve
from ppdsim.simulation.replicates import draws_workload, picks_at_random
from ppdsim.simulation.run import conversations_of, policy_of
from ppdsim.sweep.axes import Axis
from ppdsim.sweep.identity import UNREAD
from ppdsim.workload import Conversations


@dataclass(frozen=True, slots=True, kw_only=True)
class GridPoint:
    """One point: a text for each axis, the scenario with these in place, and whether a seed changes its runs."""

    values: tuple[str, ...]
    scenario: Scenario
    drawn: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """All points of a grid, the last axis moving fastest, the seeds of each, and what to beware of."""

    scenario: str
    question: str
    axes: tuple[Axis, ...]
    points: tuple[GridPoint, ...]
    seeds: tuple[int, ...]
    notes: tuple[str, ...] = ()
    unread_keys: tuple[str, ...] = ()

    def seeds_of(self, number: int) -> tuple[int, ...]:
        """Return the seeds of a point whose runs differ: the first one where no seed changes anything."""
        return self.seeds if self.points[number].drawn else self.seeds[:1]

    def name_of(self, point: GridPoint) -> str:
        """Return a point in words."""
        return ", ".join(f"{axis.key}={value}" for axis, value in zip(self.axes, point.values, strict=True))


def make_plan(
    scenario: str | Path,
    axes: Sequence[Axis],
    *,
    seeds: int,
    settings: Sequence[str] = (),
    trace: Path | None = None,
) -> SweepPlan:
    """Return the plan of a sweep, every point of it checked as far as it can be without running it.

    Parameters
    ----------
    scenario
        Name of an installed scenario, or the path of a file.
    seeds
        How many seeds each point has; they count from the scenario's.
    settings
        ``key=value`` texts that hold at every point.
    trace
        A workload in place of the scenario's.

    Raises
    ------
    InputError
        If a key or a value is wrong, a profile is missing, or the first seed's workload cannot be used at a point.
    """
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: expected at least 1")
    SEEDS.check(seeds, "--seeds")
    rows = seeds * math.prod(len(axis.values) for axis in axes)
    SWEEP_ROWS.check(rows, f"--grid: {seeds} seeds of {rows // seeds:,} points")
    for axis in axes:
        if axis.key.split(".")[0] in UNREAD:
            raise InputError(
                f"--grid {axis.key}=...: a run does not read it"
                + ("; say how many seeds with --seeds, and the first with --seed" if axis.key == "seed" else "")
            )
    # A worker may run in another folder, from where a relative trace would not be found.
    file = library.find("scenario", str(scenario)).absolute()
    load(file, settings, trace=trace)
    points: list[GridPoint] = []
    for values in itertools.product(*(axis.values for axis in axes)):
        texts = [f"{axis.key}={value}" for axis, value in zip(axes, values, strict=True)]
        try:
            found = load(file, [*settings, *texts], trace=trace)
        except PpdsimError as problem:
            raise type(problem)(_as_grid(str(problem), texts)) from None
        points.append(GridPoint(values=values, scenario=found))
    try:
        check_asked([point.scenario for point in points], Command.SWEEP)
    except PpdsimError as problem:
        texts = [f"{axis.key}={value}" for axis in axes for value in axis.values]
        raise type(problem)(_as_grid(str(problem), texts)) from None
    points = [replace(point, scenario=point.scenario.asking(())) for point in points]
    first = points[0].scenario
    plan = SweepPlan(
        scenario=first.name,
        question=first.question,
        axes=tuple(axes),
        points=tuple(points),
        seeds=tuple(range(first.seed, first.seed + seeds)),
    )
    return _checked(plan)


def _as_grid(text: str, grid: Sequence[str]) -> str:
    """Return an error of an override under the name of the option that it came by."""
    for each in grid:
        text = text.replace(f"--set {each}", f"--grid {each}")
    return text


def _checked(plan: SweepPlan) -> SweepPlan:
    """Build the fleet and the policy of every point, see that each conversation fits, and add what must be said.

    A workload that several points have is drawn once.
    """
    notes: set[str] = set()
    points: list[GridPoint] = []
    varies: dict[str, bool] = {}
    unread: dict[str, None] = {}
    drawn: dict[str, Conversations] = {}
    for point in plan.points:
        block = point.scenario.workload
        workload = "" if block is None else block.model_dump_json()
        with _naming(plan, point):
            setup = resolve(point.scenario, Command.SWEEP)
            spec = setup.cluster(seed=plan.seeds[0])
            notes.update(setup.notes)
            unread.update(dict.fromkeys(setup.unread_keys))
            policy = policy_of(point.scenario, spec.fleet_model)
            if workload not in drawn:
                drawn[workload] = conversations_of(point.scenario, plan.seeds[0]).kept()
                notes.update(drawn[workload].notes)
            if workload not in varies:
                varies[workload] = draws_workload(point.scenario, plan.seeds[0])
            points.append(replace(point, drawn=varies[workload] or picks_at_random(point.scenario)))
            if point.scenario.oversized_turns == "refuse":
                refuse(Cluster(spec, Turns(drawn[workload]), policy))
    return replace(plan, points=tuple(points), notes=tuple(sorted(notes)), unread_keys=tuple(unread))


@contextmanager
def _naming(plan: SweepPlan, point: GridPoint) -> Iterator[None]:
    """Say at which point a scenario cannot run."""
    try:
        yield
    except PpdsimError as problem:
        raise type(problem)(f"at {plan.name_of(point)}: {problem}") from None
