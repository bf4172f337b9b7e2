"""``ppdsim scenarios``: what is installed, with the question that each answers."""

from __future__ import annotations

from typing import Annotated

import typer

from ppdsim.cli.common import JsonOption, print_json, say, table
from ppdsim.errors import PpdsimError


def scenarios(
    json: JsonOption = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a scenario file instead.")] = False,
) -> None:
    """List the installed scenarios with their questions and run times.

    Example: ppdsim scenarios
    """
    from ppdsim import library, scenario

    if schema:
        print_json(scenario.json_schema())
        return
    found = []
    for name, path in library.installed("scenario").items():
        try:
            loaded = scenario.load(path)
        except PpdsimError as problem:
            say(f"left out: {problem}")
            continue
        found.append(
            {
                "name": name,
                "question": loaded.question,
                "run_time": loaded.run_time,
                "profile": loaded.profile,
                "path": str(path),
            }
        )
    if json:
        print_json(found)
    else:
        table(["name", "question", "run time"], ([r["name"], r["question"], r["run_time"]] for r in found))
