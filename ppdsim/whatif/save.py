"""A what-if as a file: ``alternatives.json``, which holds every alternative and is all that the report needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ppdsim import result_files
from ppdsim.comparison import SHARES, Comparison
from ppdsim.files import write_whole
from ppdsim.result_files import to_json

__all__ = ["RESULT_FILE", "read", "save", "to_json"]

RESULT_FILE = "alternatives.json"


def save(found: Comparison, folder: Path) -> Path:
    """Write the result file into a folder, as a file that appears whole or not at all, and return its path."""
    return write_whole(folder / RESULT_FILE, to_json(found))


def read(path: Path) -> Comparison:
    """Return what a result file holds.

    Raises
    ------
    InputError
        If it cannot be read, or is something else.
    """
    origin = "expected what 'ppdsim simulate' writes for a scenario with alternatives"
    return result_files.read(
        path, Comparison, _contradictions, produced_by=origin, regenerate_with="run the scenario again"
    )


def _contradictions(found: Comparison) -> Iterator[str]:
    """Yield what does not fit together in a result whose every value has the right type."""
    if found.shares != SHARES:
        yield "shares: those of another version of ppdsim"
    if not found.answer or not found.seeds or not found.alternatives:
        yield "answer, seeds or alternatives: there is none"
    for each in found.alternatives:
        for spread in each.distributions:
            if len(spread.values_s) not in (0, len(SHARES)):
                yield f"{each.name}: {spread.name} has {len(spread.values_s)} values, expected {len(SHARES)}"
