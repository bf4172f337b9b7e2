"""``ppdsim doctor``: whether this machine can serve and be calibrated, and what mends it if not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli.common import JsonOption, print_json

SCHEMA = "ppdsim/doctor/1"
"""Names the shape of what --json prints: keys stay, and keys may come."""


def doctor(
    model: Annotated[Path | None, typer.Option(help="Folder of a model to look at too.")] = None,
    log: Annotated[Path | None, typer.Option(help="A server's log, or an error text in a file, to explain.")] = None,
    json: JsonOption = False,
) -> None:
    """Check Python, torch, GPUs, links, SGLang, mooncake, router, ports and model; each row says how to mend it.

    Exit code 3 if something keeps servers from running here.

    Example: ppdsim doctor --model MODEL
    """
    from dataclasses import asdict

    from ppdsim.calibrate.doctor import Status, examine
    from ppdsim.calibrate.doctor.machine import ThisMachine
    from ppdsim.errors import EnvironmentProblem

    found = examine(ThisMachine(), model=model, log=log)
    if json:
        findings = [asdict(finding) for finding in found.findings]
        print_json({"schema": SCHEMA, "failed": found.failed, "transport": found.transport, "findings": findings})
    else:
        width = max(len(finding.check) for finding in found.findings)
        for finding in found.findings:
            typer.echo(f"{finding.check:<{width}}  {finding.status.value:<7}  {finding.found}")
            if finding.mend:
                # A line of its own, never folded: it is there to be pasted.
                typer.echo(f"{'':<{width}}  mend     {finding.mend}")
        typer.echo(f"transport to take here: {found.transport}")
    if found.failed:
        failures = [finding.check for finding in found.findings if finding.status is Status.FAILURE]
        raise EnvironmentProblem(f"servers will not run here: {', '.join(failures)} (how to mend it stands there)")
