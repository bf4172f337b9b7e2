"""Run the alternatives of a scenario with common random numbers, and compare their attainment seed by seed.

Each seed gives one set of conversations (arrivals, lengths, think times) that every alternative meets.

Not modelled: the uncertainty of the profile, which all alternatives share; it is no part of the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ppdsim import __version__
from ppdsim.analytical.replications import mean_interval
from ppdsim.comparison import SHARES, Alternative, Comparison, Difference, Distribution, Estimate, MachineUse, Verdict
from ppdsim.errors import InputError
from ppdsim.metrics import Scale, quantile
from ppdsim.results import Results
from ppdsim.scenario import Scenario
from ppdsim.scenario.keys import Command
from ppdsim.setup import resolve
from ppdsim.simulation.compare import said_once
from ppdsim.simulation.replicates import basis, draws_workload, parts_of, picks_at_random
from ppdsim.simulation.run import conversations_of, simulate
from ppdsim.types import Arm, NodeRole
from ppdsim.whatif import words
from ppdsim.workload import Conversations

MATTERS = 0.01
"""Two attainments that differ by less than this count as equal [1]."""
SPREAD = {"TTFT": "ttft_s", "TPOT": "tpot_s"}
"""Columns whose distributions are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The comparison, and the run of the first seed of each alternative by name."""

    comparison: Comparison
    first_runs: Mapping[str, Results]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C between or within runs; `first_runs` has those of the first seed that had ended by then."""

    def __init__(self, first_runs: Mapping[str, Results]) -> None:
        super().__init__()
        self.first_runs = first_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runs:
    """One alternative's runs, a seed each, as far as they are kept."""

    summaries: list[dict[str, Any]]
    attainments: list[float]
    times_s: dict[str, list[np.ndarray[Any, Any]]]

    def add(self, results: Results, *, in_parts: bool) -> None:
        """Keep what the comparison needs of one more run."""
        self.summaries.append(results.summary())
        self.attainments.extend(_attainments(results, in_parts=in_parts))
        for title, column in SPREAD.items():
            self.times_s[title].append(results.turns[column])


def run(
    scenario: Scenario, *, seed: int, seeds: int | None = None, progress: Callable[[int, int], None] | None = None
) -> Outcome:
    """Run every alternative of a scenario with the seeds from `seed` on.

    Parameters
    ----------
    seeds : int or None
        How many; by default the scenario's. One where the conversations of two seeds are the same, as in a trace that
        leaves nothing to chance; its parts are then compared.

    Raises
    ------
    InputError
        If a profile, a policy or the workload cannot be used.
    Interrupted
        On Ctrl-C once a run has begun.
    """
    unread_keys = resolve(scenario, Command.ALTERNATIVES).unread_keys
    names = [alternative.name for alternative in scenario.alternatives]
    conversations = conversations_of(scenario, seed).kept()
    fixed = not (any(map(picks_at_random, scenario.variants)) or draws_workload(scenario, seed))
    numbers = (seed,) if fixed else tuple(range(seed, seed + (seeds or scenario.seeds)))
    kept = {name: _Runs(summaries=[], attainments=[], times_s={title: [] for title in SPREAD}) for name in names}
    first_runs: dict[str, Results] = {}
    done = 0
    try:
        for number in numbers:
            if number != seed:
                conversations = conversations_of(scenario, number).kept()
            for name, variant in zip(names, scenario.variants, strict=True):
                results = _run(name, variant, number, conversations)
                first_runs.setdefault(name, results)
                kept[name].add(results, in_parts=fixed)
                done += 1
                if progress is not None:
                    progress(done, len(numbers) * len(names))
    except KeyboardInterrupt:
        raise Interrupted(first_runs) from None
    found = tuple(_alternative(name, v, kept[name]) for name, v in zip(names, scenario.variants, strict=True))
    differences = _differences(found)
    over = basis(parts=len(found[0].attainments) if fixed else 0, seeds=len(numbers))
    return Outcome(
        comparison=Comparison(
            scenario=scenario.name,
            question=scenario.question,
            answer=words.answer(found, differences, basis=f"over {over}, 90 % intervals"),
            limits=words.limits(scenario.slo.ttft_s, scenario.slo.tpot_s, scenario.slo.itl_max_s),
            seeds=numbers,
            deterministic=fixed,
            alternatives=found,
            differences=differences,
            notes=(
                *said_once({each.name: each.notes for each in found}),
                *words.outside([each.extrapolated for each in found]),
            ),
            unread_keys=unread_keys,
            provenance=(
                ("ppdsim", __version__),
                ("profiles", ", ".join(_profiles(first_runs.values()))),
                ("workload", words.workload(len(next(iter(first_runs.values()))), scenario)),
            ),
        ),
        first_runs=first_runs,
    )


def _run(name: str, variant: Scenario, seed: int, conversations: Conversations) -> Results:
    try:
        return simulate(variant, seed=seed, conversations=conversations)
    except InputError as problem:
        raise type(problem)(f"alternative '{name}': {problem}") from None


def _alternative(name: str, variant: Scenario, runs: _Runs) -> Alternative:
    summaries = runs.summaries
    provenance = summaries[0]["provenance"]

    def over_seeds(*keys: str) -> Estimate:
        scale = Scale.POSITIVE if keys[-1] == "turns_per_s" else Scale.SHARE
        return _estimate([_number(summary, keys) for summary in summaries], scale)

    turns = np.array([summary["turns"] for summary in summaries], dtype=np.float64)
    outside = np.array([summary["extrapolated"] or 0.0 for summary in summaries])
    return Alternative(
        name=name,
        fleet=provenance["fleet"],
        transport=provenance["transport"],
        policy=provenance["policy"],
        disaggregated=any(group.role is NodeRole.P for group in variant.fleet),
        labels=tuple(summary["label"] for summary in summaries),
        goodput_per_s=over_seeds("goodput", "turns_per_s"),
        goodputs_per_s=tuple(_number(summary, ("goodput", "turns_per_s")) for summary in summaries),
        attainment=_estimate(runs.attainments, Scale.SHARE),
        attainments=tuple(runs.attainments),
        ttft_mean_s=_time(summaries, "ttft_s", "mean"),
        ttft_p99_s=_time(summaries, "ttft_s", "p99"),
        tpot_mean_s=_time(summaries, "tpot_s", "mean"),
        appended=over_seeds("arms", Arm.APPEND_D.value),
        machines=_machines(summaries),
        extrapolated=float(np.average(outside, weights=turns)),
        distributions=tuple(_distribution(title, times) for title, times in runs.times_s.items()),
        notes=tuple(dict.fromkeys(note for summary in summaries for note in summary["notes"])),
    )


MACHINES = {"prefill": "P", "decode": "D", "link": "link"}
"""Names of machines by the keys of a summary."""


def _machines(summaries: Sequence[Mapping[str, Any]]) -> tuple[MachineUse, ...]:
    """Return what machines of each kind did in the runs; a kind that the fleet lacks is left out."""

    def estimate(values: Sequence[float | None]) -> Estimate | None:
        known = [value for value in values if value is not None]
        return _estimate(known, Scale.SHARE) if len(known) == len(values) else None

    found = []
    for key, name in MACHINES.items():
        busy = estimate([summary["busy"][key]["mean_share"] for summary in summaries])
        hits = [summary["prefix_cache"][key]["hit_rate"] if key != "link" else None for summary in summaries]
        if busy is not None:
            found.append(MachineUse(name=name, busy=busy, hit_rate=estimate(hits)))
    return tuple(found)


def _attainments(results: Results, *, in_parts: bool) -> list[float]:
    """Return the share of good turns: of the run, or of each of its parts in order of arrival.

    Over all turns of the conversations: those that an overloaded fleet never came to are offered all the same.
    """
    met = results.turns["slo_met"].astype(np.float64)
    rows = parts_of(len(met)) if in_parts else [slice(None)]
    return [float(met[part].mean()) for part in rows]


def _number(summary: Mapping[str, Any], keys: Sequence[str]) -> float:
    """Return a share or a rate of a summary; where it has none it is zero."""
    node: Any = summary
    for key in keys:
        node = node.get(key)
    return 0.0 if node is None else float(node)


def _time(summaries: Sequence[Mapping[str, Any]], column: str, statistic: str) -> Estimate | None:
    """Return the mean over seeds of a statistic of a time, or None where a run has no answer."""
    values = [summary[column][statistic] for summary in summaries]
    return None if None in values else _estimate(values, Scale.POSITIVE)


def _estimate(values: Sequence[float], scale: Scale, *, family: int = 1) -> Estimate:
    found = mean_interval(np.array(values), scale=scale, family=family)
    if found is None:
        return Estimate(mean=float(np.mean(values)), low=None, high=None)
    return Estimate(mean=found.value, low=found.low, high=found.high)


def _distribution(title: str, times_s: Sequence[np.ndarray[Any, Any]]) -> Distribution:
    values = np.concatenate(times_s)
    values = values[~np.isnan(values)]
    drawn = quantile(values, SHARES).tolist() if len(values) else []
    return Distribution(name=title, values_s=tuple(drawn))


def _differences(found: Sequence[Alternative]) -> tuple[Difference, ...]:
    """Return both directions of every pair; the intervals hold for all pairs at once."""
    pairs = list(combinations(found, 2))
    return tuple(
        _difference(first, second, family=len(pairs))
        for one, other in pairs
        for first, second in ((one, other), (other, one))
    )


def _difference(first: Alternative, second: Alternative, *, family: int) -> Difference:
    values = [a - b for a, b in zip(first.attainments, second.attainments, strict=True)]
    estimate = _estimate(values, Scale.SHARE_DIFFERENCE, family=family)
    low = estimate.mean if estimate.low is None else estimate.low
    high = estimate.mean if estimate.high is None else estimate.high
    if len(values) < 2:
        # One run says nothing of how runs vary.
        verdict = Verdict.UNDECIDED
    elif low >= -MATTERS and high <= MATTERS:
        verdict = Verdict.EQUAL
    elif low > 0.0:
        verdict = Verdict.BETTER
    elif high < 0.0:
        verdict = Verdict.WORSE
    else:
        verdict = Verdict.UNDECIDED
    return Difference(first=first.name, second=second.name, attainment=estimate, verdict=verdict)


def _profiles(runs: Iterable[Results]) -> list[str]:
    return sorted({name for results in runs for name in results.provenance["profiles"]})
