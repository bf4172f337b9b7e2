"""``ppdsim report``: draw what a folder of results holds, without running anything."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli.common import ForceOption, JsonOption, QuietOption, print_json, print_written
from ppdsim.cli.run_folder import check_file


def report(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder that 'ppdsim sweep', 'ppdsim capacity' or a what-if of 'ppdsim simulate' wrote."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="HTML file to write; by default report.html in the folder.", show_default=False
        ),
    ] = None,
    force: ForceOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw a sweep (lines, maps), a what-if (alternatives side by side) or a capacity as one offline HTML file.

    Example: ppdsim report out
    """
    from ppdsim import capacity, whatif
    from ppdsim.cli.documents import Drawn
    from ppdsim.errors import InputError
    from ppdsim.report import write_alternatives_report, write_capacity_report, write_sweep_report
    from ppdsim.sweep.save import ANSWER, read

    target = folder / "report.html" if out is None else out
    check_file(target, "-o", force=force or out is None)
    what_if, rate = folder / whatif.RESULT_FILE, folder / capacity.RESULT_FILE
    if what_if.exists():
        result, path = "alternatives", write_alternatives_report(whatif.read(what_if), target)
    elif rate.exists():
        result, path = "capacity", write_capacity_report(capacity.read(rate), target)
    elif (folder / ANSWER).exists():
        result, path = "sweep", write_sweep_report(read(folder), target)
    else:
        raise InputError(
            f"{folder}: no results to draw; expected the folder that 'ppdsim sweep', 'ppdsim capacity' or a what-if of "
            "'ppdsim simulate' wrote"
        )
    if json:
        print_json(asdict(Drawn(result=result, file=str(path))))
    print_written([path], quiet=quiet)
