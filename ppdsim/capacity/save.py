"""A capacity as a file: ``capacity.json``, which holds every run and is all that the report needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from ppdsim.carried import Carried
from ppdsim.errors import InputError
from ppdsim.units import LARGEST, too_large

RESULT_FILE = "capacity.json"


def to_json(found: Carried) -> bytes:
    """Return the answer as one JSON document."""
    return orjson.dumps(asdict(found), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def save(found: Carried, folder: Path) -> Path:
    """Write the result file into a folder, as a file that appears whole or not at all, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RESULT_FILE
    scratch = folder / f".{RESULT_FILE}.{os.getpid()}"
    scratch.write_bytes(to_json(found))
    os.replace(scratch, path)
    return path


def read(path: Path) -> Carried:
    """Return what a result file holds.

    Raises
    ------
    InputError
        If it cannot be read, or is something else.
    """
    try:
        found = TypeAdapter(Carried).validate_json(path.read_bytes(), strict=True)
    except OSError as problem:
        raise InputError(f"{path}: cannot be read ({problem.strerror}); 'ppdsim capacity' writes it") from None
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: {place + ': ' if place else ''}{first['msg']}; run 'ppdsim capacity' again"
        ) from None
    wrong = next(_contradictions(found), None)
    if wrong is not None:
        raise InputError(f"{path}: {wrong}; run 'ppdsim capacity' again")
    return found


def _contradictions(found: Carried) -> Iterator[str]:
    """Yield what does not fit together in a result whose every value has the right type."""
    if too_large(asdict(found)):
        yield f"a number is not finite, or beyond {LARGEST:g}"
    if not found.answer or not found.seeds:
        yield "answer or seeds: there is none"
    for seed in found.seeds:
        if any(not run.rate_per_s > 0.0 for run in seed.runs):
            yield f"seed {seed.seed}: a rate is not above 0"
