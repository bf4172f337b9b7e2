"""A sweep as files: ``sweep.csv`` with one row a point and seed, and ``sweep.json`` with the answer.

``sweep.json`` is read back by the report, so it enters like any other file: what is malformed is one line of error.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ppdsim import result_files
from ppdsim.files import write_whole
from ppdsim.sweep.answer import SweepAnswer
from ppdsim.sweep.measures import COLUMNS, MEASURES, Rows
from ppdsim.sweep.plan import SweepPlan
from ppdsim.sweep.store import write_table

TABLE = "sweep.csv"
ANSWER = "sweep.json"


def save(plan: SweepPlan, rows: Rows, answer: SweepAnswer, folder: Path) -> tuple[Path, Path]:
    """Write the table and the answer, each of which appears whole or not at all, and return their paths."""
    header = [*(axis.key for axis in plan.axes), "seed", *COLUMNS]
    table = (
        [*point.values, seed, *(rows[number, seed][name] for name in COLUMNS)]
        for number, point in enumerate(plan.points)
        for seed in plan.seeds_of(number)
        if (number, seed) in rows
    )
    return write_table(folder / TABLE, header, table), write_whole(folder / ANSWER, result_files.to_json(answer))


def read(folder: Path) -> SweepAnswer:
    """Return the answer that a folder holds.

    Raises
    ------
    InputError
        If there is none, or it is malformed.
    """
    return result_files.read(
        folder / ANSWER,
        SweepAnswer,
        _contradictions,
        produced_by=f"expected the folder that 'ppdsim sweep -o {folder}' writes",
        regenerate_with="run the sweep again",
    )


def _contradictions(answer: SweepAnswer) -> Iterator[str]:
    """Yield what does not fit together in an answer whose every value has the right type."""
    if answer.judged_by not in MEASURES:
        yield f"judged_by: unknown measure '{answer.judged_by}'"
    for axis in answer.axes:
        if not axis.values or (axis.numbers is not None and len(axis.numbers) != len(axis.values)):
            yield f"axes: {axis.key} has {len(axis.values)} values and other numbers"
    if not answer.axes:
        yield "axes: there is none"
    for point in answer.points:
        known = len(point.values) == len(answer.axes)
        if not known or any(v not in axis.values for v, axis in zip(point.values, answer.axes, strict=True)):
            yield f"points: {', '.join(point.values)} is no point of the grid"
        if [each.measure for each in point.estimates] != list(MEASURES):
            yield f"points: {', '.join(point.values)} has other measures than this version of ppdsim"
    for crossing in answer.crossings:
        if crossing.measure not in MEASURES:
            yield f"crossings: unknown measure '{crossing.measure}'"
