"""``ppdsim report``: draw what a folder of results holds, without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli.common import QuietOption, check_target, wrote


def report(
    folder: Annotated[Path, typer.Argument(help="Folder that 'ppdsim sweep' wrote to.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="HTML file to write; report.html in the folder by default.", show_default=False
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Draw a sweep as one offline HTML file: lines with intervals, maps over two keys, where the better one changes.

    Example: ppdsim report out
    """
    from ppdsim.report import write_sweep_report
    from ppdsim.sweep.save import read

    target = folder / "report.html" if out is None else out
    check_target(target, "-o")
    wrote([write_sweep_report(read(folder), target)], quiet=quiet)
