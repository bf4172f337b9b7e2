"""``ppdsim import``: recorded runs of other tools into the measurement format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli.common import OutOption, QuietOption, say, wrote


def import_(
    source: Annotated[Path, typer.Argument(help="Recorded grid: JSON lines, gz allowed.")],
    manifest: Annotated[
        Path, typer.Option(help="manifest.json with machine, engine and flags; its hashes are filled in.")
    ],
    out: OutOption,
    quiet: QuietOption = False,
) -> None:
    """Convert a recorded grid into a folder of raw measurements.

    Example: ppdsim import grid.jsonl.gz --manifest manifest.json -o calibration/measurements/my-machine
    """
    from ppdsim import measurements
    from ppdsim.calibrate.import_grid import import_grid, read_manifest_template

    written = import_grid(source, read_manifest_template(manifest), out)
    loaded = measurements.read(out)
    say(loaded.describe(), quiet=quiet)
    for refused in loaded.refused:
        say(f"refused row {refused.row} ({refused.kind}): {refused.reason}", quiet=quiet)
    wrote(written, quiet=quiet)
