"""``ppdsim schema``: the JSON Schema of a file format."""

from __future__ import annotations

from typing import Annotated

import typer

from ppdsim.cli.common import print_json

FORMATS = ("measurements", "profile", "scenario")


def schema(format_name: Annotated[str, typer.Argument(metavar="|".join(FORMATS), help="Which file format.")]) -> None:
    """Print the JSON Schema of raw measurements, profiles or scenarios, for editors and checkers.

    Example: ppdsim schema measurements
    """
    from ppdsim import measurements, profile, scenario
    from ppdsim.errors import unknown

    schemas = {
        "measurements": measurements.json_schema,
        "profile": profile.json_schema,
        "scenario": scenario.json_schema,
    }
    if format_name not in schemas:
        raise unknown("format", format_name, schemas)
    print_json(schemas[format_name]())
