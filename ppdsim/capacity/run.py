"""``ppdsim capacity``: the largest arrival rate at which a fleet keeps its SLO, and how far seeds move it.

Each seed is one draw of arrivals, lengths and think times, the same at every rate (common random numbers), and gives a
bracket [low, high] of its own largest rate (`ppdsim.capacity.search`). The answer is the median of the seeds' lows; its
interval runs from the smallest low to the largest high. With n seeds the capacity that half of all seeds exceed lies in
it with probability 1 - 2^(1 - n), whatever the distribution, unless the bracket's own width decides.

Not modelled: how the profile's own uncertainty moves the rate, and what happens after the run's window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from statistics import median_low
from typing import Any

from ppdsim.capacity.load import load_of
from ppdsim.capacity.probe import judge
from ppdsim.capacity.search import search
from ppdsim.capacity.words import sentences
from ppdsim.capacity_result import CapacityResult, CapacityRun, CapacitySeed, RateInterval
from ppdsim.errors import InputError
from ppdsim.limits import SEEDS
from ppdsim.metrics import SloLimits
from ppdsim.scenario import Scenario, Slo
from ppdsim.scenario.keys import Command
from ppdsim.setup import resolve
from ppdsim.simulation.run import simulate

NEAR = 1.1
"""First factor of the bracketing from the rate that the seed before has found [1]."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; `answers` has what the seeds that had ended say, by alternative ("" without any)."""

    def __init__(self, answers: Mapping[str, CapacityResult]) -> None:
        super().__init__()
        self.answers = answers


def capacity(
    scenario: Scenario,
    *,
    seed: int,
    seeds: int = 5,
    slo: Slo | None = None,
    wanted: float = 0.9,
    tolerance: float = 0.02,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CapacityResult:
    """Return the largest rate at which at least `wanted` of the turns meet the SLO.

    Parameters
    ----------
    seed, seeds : int
        First seed, and how many.
    slo : Slo or None
        In place of the scenario's.
    tolerance : float
        Largest width of a seed's bracket, as a share of its low [1].

    Raises
    ------
    InputError
        If there is no limit, a share or tolerance that cannot be, or a workload without a rate.
    Interrupted
        On Ctrl-C once a run has begun.
    """
    chosen = scenario if slo is None else scenario.model_copy(update={"slo": slo})
    limits = SloLimits(ttft_s=chosen.slo.ttft_s, tpot_s=chosen.slo.tpot_s, itl_max_s=chosen.slo.itl_max_s)
    if scenario.alternatives:
        raise InputError(f"scenario '{scenario.name}' has alternatives: ask for the capacity of each")
    if limits == SloLimits():
        raise InputError(f"scenario '{scenario.name}' has no slo: give --slo, such as --slo ttft_ms=500,tpot_ms=25")
    if not 0.0 < wanted <= 1.0:
        raise InputError(f"--attained {wanted}: expected a share of the turns above 0, at most 1")
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: expected at least 1")
    SEEDS.check(seeds, "--seeds")
    if not 0.001 <= tolerance <= 1.0:
        raise InputError(f"--tolerance {tolerance}: expected a share from 0.001 to 1")
    setup = resolve(chosen, Command.CAPACITY)
    load = load_of(chosen)
    roles = setup.roles
    answers: list[CapacitySeed] = []
    provenance: Mapping[str, Any] = {}
    start, step = load.own_rate_per_s, 2.0
    count = seeds if load.drawn else 1

    def answered(*notes: str) -> CapacityResult:
        low = median_low(answer.low_per_s for answer in answers)
        middle = next(answer for answer in answers if answer.low_per_s == low)
        run, beyond = middle.run_at(low), middle.run_at(middle.high_per_s)
        highs = [answer.high_per_s for answer in answers]
        found = CapacityResult(
            answer=(),
            kind=middle.kind,
            limits=asdict(limits),
            attained_wanted=wanted,
            rate_per_s=low,
            rate_per_gpu_per_s=low / setup.gpus,
            interval_per_s=RateInterval(
                low=min(answer.low_per_s for answer in answers),
                high=None if None in highs else max(high for high in highs if high is not None),
                over="bracket" if len(answers) == 1 else "seeds",
                coverage=coverage(len(answers)),
            ),
            turns_per_s=None if run is None else run.turns_per_s,
            goodput_per_s=None if run is None else run.goodput_per_s,
            goodput_per_gpu_per_s=None if run is None else run.goodput_per_s / setup.gpus,
            gpus=setup.gpus,
            binds=None if beyond is None else beyond.binding,
            tolerance=tolerance,
            seeds=tuple(answers),
            notes=(*notes, *setup.notes, *load.notes, *_notes(run, drawn=load.drawn)),
            provenance={key: value for key, value in provenance.items() if key != "seed"},
            unread_keys=setup.unread_keys,
        )
        return replace(found, answer=sentences(found, run))

    try:
        for number in range(count):
            runs: dict[float, CapacityRun] = {}

            def keeps(rate: float, number: int = number, runs: dict[float, CapacityRun] = runs) -> bool:
                nonlocal provenance
                results = simulate(load.scenario_at(rate), seed=seed + number, command=Command.CAPACITY)
                provenance = results.provenance
                runs[rate] = judge(results, rate, wanted, roles)
                return runs[rate].kept

            found = search(keeps, start, tolerance=tolerance, step=step)
            if found.low:
                start, step = found.low, NEAR
            answers.append(
                CapacitySeed(
                    seed=seed + number,
                    kind=found.kind,
                    low_per_s=found.low,
                    high_per_s=found.high if math.isfinite(found.high) else None,
                    runs=tuple(runs[rate] for rate in sorted(runs)),
                )
            )
            progress(number + 1, count)
    except KeyboardInterrupt:
        ended = f"interrupted: the answer is of {len(answers)} of {count} seeds"
        raise Interrupted({"": answered(ended)} if answers else {}) from None
    return answered()


def coverage(seeds: int) -> float | None:
    """Return how probably the interval over seeds holds the median capacity [1]; None of one seed.

    >>> coverage(3), coverage(1)
    (0.75, None)
    """
    return 1.0 - 2.0 ** (1 - seeds) if seeds > 1 else None


def _notes(run: CapacityRun | None, *, drawn: bool) -> list[str]:
    notes = []
    if not drawn:
        notes.append("no seed changes this run, so one is all there is; its interval is the bracket of the search")
    if run is not None and run.life_s is not None and run.life_s > run.window_s / 3.0:
        notes.append(
            f"conversations last {run.life_s:.0f} s (median) and all start within {run.window_s:.0f} s, so the load"
            " has not settled: the rate may be too high; give the workload more conversations"
        )
    return notes
