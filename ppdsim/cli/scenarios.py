"""``ppdsim scenarios``: what is installed, with the question that each answers."""

from __future__ import annotations

from dataclasses import asdict

from ppdsim.cli.common import JsonOption, entry, print_json, print_status
from ppdsim.errors import PpdsimError


def scenarios(json: JsonOption = False) -> None:
    """List the installed scenarios with their questions and run times.

    Example: ppdsim scenarios
    """
    from ppdsim import library, scenario
    from ppdsim.cli.documents import ScenarioRow

    found = []
    for name, path in library.installed("scenario").items():
        try:
            loaded = scenario.load(path)
        except PpdsimError as problem:
            print_status(f"left out: {problem}")
            continue
        row = ScenarioRow(
            name=name, question=loaded.question, run_time=loaded.run_time, profile=loaded.profile, path=str(path)
        )
        found.append(asdict(row))
        if not json:
            entry(name, [loaded.question, f"run time: {loaded.run_time}"])
    if json:
        print_json(found)
