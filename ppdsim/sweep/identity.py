"""The content hash of a row: the same hash, the same row, so that a row already there is not run again.

It covers the scenario as it stands after all overrides (not its question, run time, name or grid of crossover), the
seed, the bytes of every profile and trace that it reads, ppdsim's version, and the text of every module below this one
in the layers (`revision`). A change of a comment there runs the rows again; a row of other code is never taken for one
of this code. Not modelled: the versions of numpy and simpy.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from pathlib import Path

from ppdsim import __version__, library
from ppdsim.reading import sha256
from ppdsim.scenario import Scenario
from ppdsim.workload.tracefile import AbstractTrace

SCHEMA = "ppdsim/sweep-row/1"
SIMULATOR = (
    "activity.py", "columns.py", "compose.py", "cost", "curves.py", "des", "engine_record.py", "engines",
    "metrics.py", "profile", "reading.py",
    "results.py", "routing", "scenario", "setup.py", "simulation", "transport", "turn.py", "types.py", "units.py",
    "workload", "sweep/measures.py", "yaml_file.py",
)  # fmt: skip
"""Files and folders of the package whose text decides what a row says."""
UNREAD = {"question", "run_time", "seed", "crossover"}
"""Keys of a scenario that a run does not read; the seed of a row is its own."""


@cache
def revision() -> str:
    """Return the SHA-256 of the simulator's source, in hexadecimal."""
    package = Path(str(resources.files("ppdsim")))
    files = [file for name in SIMULATOR for file in _modules(package / name)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(package).as_posix()}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def row_parts(scenario: Scenario, seed: int) -> dict[str, object]:
    """Return what decides a row, by name; a difference between two machines is found by comparing these.

    Raises
    ------
    InputError
        If a profile or the workload is missing.
    """
    names = {scenario.profile, *(group.profile for group in scenario.fleet if group.profile is not None)}
    workload = scenario.build_workload()
    return {
        "schema": SCHEMA,
        "ppdsim": __version__,
        "simulator": revision(),
        "scenario": scenario.model_dump(mode="json", by_alias=True, exclude=UNREAD),
        "seed": seed,
        **{f"profile {name}": _digest(library.find("profile", name)) for name in sorted(names)},
        **({f"trace {workload.path.name}": _digest(workload.path)} if isinstance(workload, AbstractTrace) else {}),
    }


def row_key(scenario: Scenario, seed: int) -> str:
    """Return the content hash of a row: 32 hexadecimal digits.

    Raises
    ------
    InputError
        If a profile or the workload is missing.
    """
    text = json.dumps(row_parts(scenario, seed), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _modules(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _digest(path: Path) -> str:
    return sha256(path)
