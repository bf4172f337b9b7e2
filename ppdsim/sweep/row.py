"""One row: a scenario and a seed go to a worker, which runs them and sends the columns back.

A worker on another machine has its own copies of ppdsim, of the profiles and of the traces. So it works the content
hash out for itself and refuses to compute a row under another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ppdsim.errors import EnvironmentProblem, PpdsimError
from ppdsim.scenario import Scenario
from ppdsim.scenario.keys import Command
from ppdsim.simulation.run import simulate
from ppdsim.sweep.identity import row_key, row_parts
from ppdsim.sweep.measures import PARTS, measure, measure_parts


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTask:
    """What a worker needs for a row, its content hash where it was asked for, and the point's name for errors.

    `drawn`: another seed gives another run; if not, the row has its measures by part.
    """

    scenario: Scenario
    seed: int
    key: str
    point: str
    drawn: bool = True


def run_row(task: RowTask) -> dict[str, Any]:
    """Return the columns of a row.

    Raises
    ------
    EnvironmentProblem
        If this process has another ppdsim, profile or trace than the one that asked, or lacks one of them.
    InputError
        If the workload of this seed cannot be used.
    """
    try:
        here = row_key(task.scenario, task.seed)
    except (PpdsimError, OSError) as problem:
        raise EnvironmentProblem(f"a worker lacks what the sweep reads: {problem}") from None
    if here != task.key:
        names = ", ".join(name for name in row_parts(task.scenario, task.seed) if name not in ("scenario", "seed"))
        raise EnvironmentProblem(
            f"a worker's files differ from those here, in one of: {names}; install the same ppdsim on the workers and "
            "give them the same profiles and traces"
        )
    try:
        results = simulate(task.scenario, seed=task.seed, command=Command.SWEEP)
    except PpdsimError as problem:
        raise type(problem)(f"at {task.point}, seed {task.seed}: {problem}") from None
    gamma = task.scenario.routing.gamma
    row = measure(results, gamma)
    return row if task.drawn else {**row, PARTS: measure_parts(results, gamma)}
