"""``ppdsim schema``: the JSON Schema of a file format, or of what a command prints with ``--json``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

import typer

from ppdsim.cli.common import JsonOption, completes, echo, print_json


def _names() -> Iterable[str]:
    from ppdsim.cli.documents import SCHEMAS

    return SCHEMAS


def schema(
    name: Annotated[
        str | None,
        typer.Argument(
            help="File format or command; without one, all are listed.",
            autocompletion=completes(_names),
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print the JSON Schema of a file (measurements, profile, scenario) or of what a command prints with --json.

    Example: ppdsim schema measurements
    """
    from ppdsim.cli.documents import SCHEMAS, Format
    from ppdsim.errors import unknown

    if name is not None:
        if name not in SCHEMAS:
            raise unknown("format", name, SCHEMAS)
        print_json(SCHEMAS[name][1]())
        return
    listed = [Format(name=each, what=what) for each, (what, _) in SCHEMAS.items()]
    if json:
        print_json([asdict(one) for one in listed])
        return
    for one in listed:
        echo(f"{one.name:14}{one.what}")
