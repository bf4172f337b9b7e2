"""``ppdsim doctor``: whether this machine can serve and be calibrated, and what fixes it if not."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli import servers
from ppdsim.cli.common import JsonOption, echo, overwrite_status, print_json, print_status

CLEAR = "\r\x1b[K"


def doctor(
    engine: servers.EngineOption = None,
    model: Annotated[Path | None, typer.Option(help="Folder of a model to check as well.")] = None,
    log: Annotated[Path | None, typer.Option(help="Log of a server, or file with an error text, to explain.")] = None,
    json: JsonOption = False,
) -> None:
    """Check Python, torch, GPUs, links, SGLang, mooncake, router, ports and model; each row says how to fix it.

    The exit code is 3 if servers cannot run here.

    Example: ppdsim doctor --model MODEL
    """
    from dataclasses import asdict

    from ppdsim.cli.documents import Diagnosis, FindingRow
    from ppdsim.engines.doctor.finding import Status
    from ppdsim.errors import EnvironmentProblem
    from ppdsim.machine.host import ThisMachine

    doctor = servers.engine_of(engine).doctor
    with _waiting() as waiting:
        found = doctor.examine(ThisMachine(), model=model, log=log, waiting=waiting)
    if json:
        findings = [FindingRow(**asdict(finding)) for finding in found.findings]
        took_s = {name: round(seconds, 3) for name, seconds in found.took_s.items()}
        answer = Diagnosis(failed=found.failed, transport=found.transport, findings=findings, took_s=took_s)
        print_json(asdict(answer))
    else:
        width = max(len(finding.check) for finding in found.findings)
        for finding in found.findings:
            echo(f"{finding.check:<{width}}  {finding.status.value:<7}  {finding.found}")
            if finding.fix:
                # A line of its own, never folded: it is there to be pasted.
                echo(f"{'':<{width}}  fix      {finding.fix}")
        echo(f"transport to take here: {found.transport}")
    if found.failed:
        failures = [finding.check for finding in found.findings if finding.status is Status.FAILURE]
        raise EnvironmentProblem(
            f"servers will not run here: {', '.join(failures)} (the rows above say how to fix each)", answered=True
        )


@contextmanager
def _waiting() -> Iterator[Callable[[tuple[str, ...]], None]]:
    """Say on stderr which checks are waited for: a line that is written over on a terminal, else one now and then."""
    live, begin_s = sys.stderr.isatty(), time.monotonic()
    printed_s = begin_s

    def print_waiting(names: tuple[str, ...]) -> None:
        nonlocal printed_s
        now_s = time.monotonic()
        if live or now_s - printed_s >= servers.EVERY_S:
            printed_s = now_s
            text = f"looking for {now_s - begin_s:.0f} s, still at: {', '.join(names)}"
            overwrite_status(text) if live else print_status(text)

    yield print_waiting
    if live:
        overwrite_status("")
