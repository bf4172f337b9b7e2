"""A what-if as a file: ``alternatives.json``, which holds every alternative and is all that the report needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from ppdsim.comparison import SHARES, Comparison
from ppdsim.errors import InputError
from ppdsim.units import LARGEST, too_large

RESULT_FILE = "alternatives.json"


def to_json(found: Comparison) -> bytes:
    """Return the comparison as one JSON document."""
    return orjson.dumps(asdict(found), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def save(found: Comparison, folder: Path) -> Path:
    """Write the result file into a folder, as a file that appears whole or not at all, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RESULT_FILE
    scratch = folder / f".{RESULT_FILE}.{os.getpid()}"
    scratch.write_bytes(to_json(found))
    os.replace(scratch, path)
    return path


def read(path: Path) -> Comparison:
    """Return what a result file holds.

    Raises
    ------
    InputError
        If it cannot be read, or is something else.
    """
    try:
        text = path.read_bytes()
    except OSError as problem:
        raise InputError(
            f"{path}: cannot be read ({problem.strerror}); expected what 'ppdsim simulate' writes for a scenario with "
            "alternatives"
        ) from None
    try:
        found = TypeAdapter(Comparison).validate_json(text, strict=True)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {place + ': ' if place else ''}{first['msg']}; run the scenario again") from None
    wrong = next(_contradictions(found), None)
    if wrong is not None:
        raise InputError(f"{path}: {wrong}; run the scenario again")
    return found


def _contradictions(found: Comparison) -> Iterator[str]:
    """Yield what does not fit together in a result whose every value has the right type."""
    if too_large(asdict(found)):
        yield f"a number is not finite, or beyond {LARGEST:g}"
    if found.shares != SHARES:
        yield "shares: those of another version of ppdsim"
    if not found.answer or not found.seeds or not found.alternatives:
        yield "answer, seeds or alternatives: there is none"
    for each in found.alternatives:
        for spread in each.distributions:
            if len(spread.values_s) not in (0, len(SHARES)):
                yield f"{each.name}: {spread.name} has {len(spread.values_s)} values, expected {len(SHARES)}"
