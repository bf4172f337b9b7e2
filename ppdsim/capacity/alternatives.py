"""The capacity of each alternative of a scenario, the most conversations a GPU first.

Every alternative meets the same draws of arrivals, lengths and think times (common random numbers), and its rate is
found by itself (`ppdsim.capacity.run`). They are ranked by what a GPU carries, because they may differ in GPUs.

Not modelled: the uncertainty of the profile, which all alternatives share; it is no part of the intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ppdsim import result_files
from ppdsim.capacity.run import Interrupted, capacity
from ppdsim.capacity_result import AlternativeCapacity, CapacityComparison, CapacityResult
from ppdsim.files import write_whole
from ppdsim.results import with_notes
from ppdsim.scenario import Scenario, Slo
from ppdsim.scenario.keys import Command
from ppdsim.setup import resolve

RESULT_FILE = "capacities.json"


def capacity_of_each(
    scenario: Scenario,
    *,
    seed: int,
    seeds: int = 5,
    slo: Slo | None = None,
    wanted: float = 0.9,
    tolerance: float = 0.02,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CapacityComparison:
    """Return what each alternative carries; the parameters are those of `capacity`.

    Raises
    ------
    InputError
        As `capacity`; and if something was set for this call that no alternative reads.
    Interrupted
        On Ctrl-C once a run has begun.
    """
    unread_keys = resolve(scenario, Command.CAPACITY).unread_keys
    names = [alternative.name for alternative in scenario.alternatives]
    found: dict[str, CapacityResult] = {}
    for number, (name, variant) in enumerate(zip(names, scenario.variants, strict=True)):

        def advance(done: int, total: int, number: int = number) -> None:
            progress(number * total + done, len(names) * total)

        try:
            found[name] = capacity(
                variant, seed=seed, seeds=seeds, slo=slo, wanted=wanted, tolerance=tolerance, progress=advance
            )
        except Interrupted as stop:
            found |= dict(zip([name], stop.answers.values(), strict=False))
            raise Interrupted(found) from None
    ranked = sorted(found, key=lambda name: -found[name].rate_per_gpu_per_s)
    return CapacityComparison(
        scenario=scenario.name,
        question=scenario.question,
        answer=(_answer(ranked, found),),
        alternatives=tuple(
            AlternativeCapacity(name=name, capacity=replace(found[name], unread_keys=())) for name in ranked
        ),
        unread_keys=unread_keys,
    )


def save(found: CapacityComparison, folder: Path) -> Path:
    """Write the result file into a folder, as a file that appears whole or not at all, and return its path."""
    return write_whole(folder / RESULT_FILE, result_files.to_json(found))


def table(found: CapacityComparison) -> str:
    """Return the answer and a line an alternative as text."""
    width = max(len(each.name) for each in found.alternatives) + 2
    heads = ("conversations/s", "(over seeds)", "GPUs", "a GPU")
    widths = (17, 20, 6, 9)
    lines = [*found.answer, f"{'':{width}}" + "".join(f"{head:>{w}}" for head, w in zip(heads, widths, strict=True))]
    for each in found.alternatives:
        rate, interval = each.capacity.rate_per_s, each.capacity.interval_per_s
        high = "no upper end" if interval.high is None else f"{interval.high:.4g}"
        cells = (
            f"{rate:.4g}", f"({interval.low:.4g} to {high})", str(each.capacity.gpus),
            f"{each.capacity.rate_per_gpu_per_s:.4g}",
        )  # fmt: skip
        row = "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        lines.append(f"{each.name:{width}}{row}   {each.capacity.answer[-1]}")
    notes = dict.fromkeys(note for each in found.alternatives for note in each.capacity.notes)
    return with_notes(lines, notes, found.unread_keys)


def _answer(ranked: list[str], found: dict[str, CapacityResult]) -> str:
    """Return which alternative carries most a GPU, and those that its seeds do not tell apart from it."""
    best = found[ranked[0]]
    if not best.rate_per_s:
        return "NO RATE keeps the limits on any alternative."
    low = best.interval_per_s.low / best.gpus
    highs = {name: found[name].interval_per_s.high for name in ranked[1:]}
    rivals = [name for name, high in highs.items() if high is None or high / found[name].gpus >= low]
    told = f"{ranked[0]} carries most: {best.rate_per_gpu_per_s:.4g} conversations/s a GPU, of {best.gpus}"
    return f"{told}; the seeds do not tell it apart from {', '.join(rivals)}." if rivals else f"{told}."
