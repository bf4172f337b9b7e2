"""A sweep as files: ``sweep.csv`` with one row a point and seed, and ``sweep.json`` with the answer.

``sweep.json`` is read back by the report, so it enters like any other file: what is malformed is one line of error.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from ppdsim.errors import InputError
from ppdsim.sweep.answer import SweepAnswer
from ppdsim.sweep.measures import COLUMNS, Rows
from ppdsim.sweep.plan import SweepPlan
from ppdsim.sweep.store import write_table, write_whole

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
        return TypeAdapter(SweepAnswer).validate_json(text, strict=True)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {place + ': ' if place else ''}{first['msg']}; run the sweep again") from None
