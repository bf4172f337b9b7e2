"""``ppdsim report``: draw the result file of a what-if again, without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli.common import QuietOption, check_target, wrote


def report(
    result: Annotated[
        Path, typer.Argument(help="alternatives.json, or the folder that 'ppdsim simulate' wrote it to.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="HTML file to write; by default report.html beside the result.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Draw the alternatives of a what-if side by side from its result file: one offline HTML file.

    Example: ppdsim report out
    """
    from ppdsim.report import write_alternatives_report
    from ppdsim.whatif import RESULT_FILE, read

    file = result / RESULT_FILE if result.is_dir() else result
    target = file.with_name("report.html") if out is None else out
    check_target(target, "-o")
    wrote([write_alternatives_report(read(file), target)], quiet=quiet)
