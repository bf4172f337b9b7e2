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
from dataclasses import dataclass
from statistics import median_low
from typing import Any

from ppdsim.capacity.load import load_of
from ppdsim.capacity.probe import Probe, judge
from ppdsim.capacity.search import Kind, RateBracket, search
from ppdsim.capacity_result import Binding
from ppdsim.errors import InputError
from ppdsim.limits import SEEDS
from ppdsim.metrics import SloLimits
from ppdsim.scenario import Scenario, Slo
from ppdsim.scenario.keys import Command
from ppdsim.setup import resolve
from ppdsim.simulation.run import simulate

NEAR = 1.1
"""First factor of the bracketing from the rate that the seed before has found [1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedAnswer:
    """One seed's bracket, and every run that it took, by rate."""

    seed: int
    found: RateBracket
    probes: tuple[Probe, ...]

    def probe_at(self, rate: float) -> Probe | None:
        """Return the run at a rate."""
        return next((probe for probe in self.probes if probe.rate_per_s == rate), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityAnswer:
    """The largest rate that keeps the SLO.

    Attributes
    ----------
    kind : Kind
        Of the median seed.
    rate_per_s, low_per_s, high_per_s : float
        Conversations a second: the median seed's low (0 if nothing keeps the SLO), and the interval over seeds (`high`
        is inf where some seed's bracket has no upper end).
    probe : Probe or None
        The median seed's run at that rate.
    binding : Binding or None
        What its first rate beyond runs into.
    gpus : int
        GPUs of the fleet: a server of tensor parallelism n has n.
    unread_keys : tuple of str
        Keys of the scenario file that a capacity does not read.
    """

    limits: SloLimits
    wanted: float
    tolerance: float
    kind: Kind
    rate_per_s: float
    low_per_s: float
    high_per_s: float
    probe: Probe | None
    binding: Binding | None
    gpus: int
    seeds: tuple[SeedAnswer, ...]
    notes: tuple[str, ...]
    provenance: Mapping[str, Any]
    unread_keys: tuple[str, ...] = ()


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; `answers` has what the seeds that had ended say, by alternative ("" without any)."""

    def __init__(self, answers: Mapping[str, CapacityAnswer]) -> None:
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
) -> CapacityAnswer:
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
    answers: list[SeedAnswer] = []
    provenance: Mapping[str, Any] = {}
    start, step = load.own_rate_per_s, 2.0
    count = seeds if load.drawn else 1

    def answered(*notes: str) -> CapacityAnswer:
        low = median_low(answer.found.low for answer in answers)
        middle = next(answer for answer in answers if answer.found.low == low)
        probe, beyond = middle.probe_at(low), middle.probe_at(middle.found.high)
        return CapacityAnswer(
            limits=limits,
            wanted=wanted,
            tolerance=tolerance,
            kind=middle.found.kind,
            rate_per_s=low,
            low_per_s=min(answer.found.low for answer in answers),
            high_per_s=max(answer.found.high for answer in answers),
            probe=probe,
            binding=None if beyond is None else beyond.binding,
            gpus=setup.gpus,
            unread_keys=setup.unread_keys,
            seeds=tuple(answers),
            notes=(*notes, *setup.notes, *load.notes, *_notes(probe, drawn=load.drawn)),
            provenance={key: value for key, value in provenance.items() if key != "seed"},
        )

    try:
        for number in range(count):
            probes: dict[float, Probe] = {}

            def keeps(rate: float, number: int = number, probes: dict[float, Probe] = probes) -> bool:
                nonlocal provenance
                results = simulate(load.scenario_at(rate), seed=seed + number, command=Command.CAPACITY)
                provenance = results.provenance
                probes[rate] = judge(results, rate, wanted, roles)
                return probes[rate].kept

            found = search(keeps, start, tolerance=tolerance, step=step)
            if found.low:
                start, step = found.low, NEAR
            runs = tuple(probes[rate] for rate in sorted(probes))
            answers.append(SeedAnswer(seed=seed + number, found=found, probes=runs))
            progress(number + 1, count)
    except KeyboardInterrupt:
        ended = f"interrupted: the answer is of {len(answers)} of {count} seeds"
        raise Interrupted({"": answered(ended)} if answers else {}) from None
    return answered()


def _notes(probe: Probe | None, *, drawn: bool) -> list[str]:
    notes = []
    if not drawn:
        notes.append("no seed changes this run, so one is all there is; its interval is the bracket of the search")
    if probe is not None and not math.isnan(probe.life_s) and probe.life_s > probe.window_s / 3.0:
        notes.append(
            f"conversations last {probe.life_s:.0f} s (median) and all start within {probe.window_s:.0f} s, so the load"
            " has not settled: the rate may be too high; give the workload more conversations"
        )
    return notes
