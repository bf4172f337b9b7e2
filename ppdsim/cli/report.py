"""``ppdsim report``: draw what a folder of results holds, without running anything."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli.common import ForceOption, JsonOption, QuietOption, print_json, print_written
from ppdsim.cli.run_folder import check_file
from ppdsim.files import write_whole


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
    from ppdsim.report import render_alternatives, render_capacity, render_sweep
    from ppdsim.sweep.save import ANSWER, read

    target = folder / "report.html" if out is None else out
    check_file(target, "-o", force=force or out is None)
    what_if, rate = folder / whatif.RESULT_FILE, folder / capacity.RESULT_FILE
    if what_if.exists():
        result, page = "alternatives", render_alternatives(whatif.read(what_if))
    elif rate.exists():
        result, page = "capacity", render_capacity(capacity.read(rate))
    elif (folder / ANSWER).exists():
        result, page = "sweep", render_sweep(read(folder))
    else:
        raise InputError(
            f"{folder}: no results to draw; expected the folder that 'ppdsim sweep', 'ppdsim capacity' or a what-if of "
            "'ppdsim simulate' wrote"
        )
    write_whole(target, page)
    if json:
        print_json(asdict(Drawn(result=result, file=str(target))))
    print_written([target], quiet=quiet)
