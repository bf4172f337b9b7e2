"""A sweep as files: ``sweep.csv`` with one row a point and seed, and ``sweep.json`` with the answer.

``sweep.json`` is read back by the report, so it enters like any other file: what is malformed is one line of error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from ppdsim.errors import InputError
from ppdsim.sweep.answer import SweepAnswer
from ppdsim.sweep.measures import COLUMNS, MEASURES, Rows
from ppdsim.sweep.plan import SweepPlan
from ppdsim.sweep.store import write_table, write_whole
from ppdsim.units import LARGEST, too_large

TABLE = "sweep.csv"
ANSWER = "sweep.json"


def save(plan: SweepPlan, rows: Rows, answer: SweepAnswer, folder: Path) -> tuple[Path, Path]:
    """Write the table and the answer, each of which appears whole or not at all, and return their paths."""
    header = [*(axis.key for axis in plan.axes), "seed", *COLUMNS]
    table = (
        [*point.values, seed, *rows[number, seed].values()]
        for number, point in enumerate(plan.points)
        for seed in plan.seeds
        if (number, seed) in rows
    )
    return write_table(folder / TABLE, header, table), write_whole(folder / ANSWER, to_json(answer))


def to_json(answer: SweepAnswer) -> str:
    """Return the answer as one JSON document."""
    return orjson.dumps(asdict(answer), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def read(folder: Path) -> SweepAnswer:
    """Return the answer that a folder holds.

    Raises
    ------
    InputError
        If there is none, or it is malformed.
    """
    path = folder / ANSWER
    try:
        text = path.read_bytes()
    except OSError as problem:
        raise InputError(
            f"{path}: cannot be read ({problem.strerror}); expected the folder that 'ppdsim sweep -o {folder}' writes"
        ) from None
    try:
        found = TypeAdapter(SweepAnswer).validate_json(text, strict=True)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {place + ': ' if place else ''}{first['msg']}; run the sweep again") from None
    wrong = next(_contradictions(found), None)
    if wrong is not None:
        raise InputError(f"{path}: {wrong}; run the sweep again")
    return found


def _contradictions(answer: SweepAnswer) -> Iterator[str]:
    """Yield what does not fit together in an answer whose every value has the right type."""
    if too_large(asdict(answer)):
        yield f"a number is not finite, or beyond {LARGEST:g}"
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
