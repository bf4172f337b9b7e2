"""A capacity as a file: ``capacity.json``, which holds every run and is all that the report needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ppdsim import result_files
from ppdsim.capacity_result import CapacityResult
from ppdsim.files import write_whole
from ppdsim.result_files import to_json

__all__ = ["RESULT_FILE", "read", "save", "to_json"]

RESULT_FILE = "capacity.json"


def save(found: CapacityResult, folder: Path) -> Path:
    """Write the result file into a folder, as a file that appears whole or not at all, and return its path."""
    return write_whole(folder / RESULT_FILE, to_json(found))


def read(path: Path) -> CapacityResult:
    """Return what a result file holds.

    Raises
    ------
    InputError
        If it cannot be read, or is something else.
    """
    return result_files.read(
        path,
        CapacityResult,
        _contradictions,
        produced_by="'ppdsim capacity' writes it",
        regenerate_with="run 'ppdsim capacity' again",
    )


def _contradictions(found: CapacityResult) -> Iterator[str]:
    """Yield what does not fit together in a result whose every value has the right type."""
    if not found.answer or not found.seeds:
        yield "answer or seeds: there is none"
    for name in ("rate_per_s", "rate_per_gpu_per_s", "turns_per_s", "goodput_per_s", "goodput_per_gpu_per_s"):
        value = getattr(found, name)
        if value is not None and value < 0.0:
            yield f"{name}: {value:g} is below 0"
    for seed in found.seeds:
        if any(not run.rate_per_s > 0.0 for run in seed.runs):
            yield f"seed {seed.seed}: a rate is not above 0"
