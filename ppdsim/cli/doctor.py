"""``ppdsim doctor``: whether this machine can serve and be calibrated, and what mends it if not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli.common import JsonOption, print_json


def doctor(
    model: Annotated[Path | None, typer.Option(help="Folder of a model to look at too.")] = None,
    json: JsonOption = False,
) -> None:
    """Check Python, torch, GPUs, links, SGLang, mooncake, router, ports and model; each row says how to mend it.

    Exit code 3 if something keeps servers from running here.

    Example: ppdsim doctor --model MODEL
    """
    from dataclasses import asdict

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from ppdsim.calibrate.doctor import Status, examine
    from ppdsim.calibrate.doctor.machine import ThisMachine
    from ppdsim.errors import EnvironmentProblem

    found = examine(ThisMachine(), model=model)
    if json:
        print_json({"transport": found.transport, "findings": [asdict(finding) for finding in found.findings]})
    else:
        table = Table(box=None, pad_edge=False)
        for column in ("check", "", "found", "mend"):
            table.add_column(column, overflow="fold")
        for finding in found.findings:
            table.add_row(finding.check, finding.status.value, escape(finding.found), escape(finding.mend))
        console = Console(soft_wrap=False)
        console.print(table)
        console.print(f"transport to take here: {found.transport}")
    if found.failed:
        failures = [finding.check for finding in found.findings if finding.status is Status.FAILURE]
        raise EnvironmentProblem(f"servers will not run here: {', '.join(failures)} (mends are in the table)")
