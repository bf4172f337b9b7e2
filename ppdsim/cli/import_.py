"""``ppdsim import``: recorded runs of other tools into the measurement format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli.common import OutOption, QuietOption, check_folder, say, wrote
from ppdsim.types import Arm, Transport


def import_(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Recorded files of one run, gz allowed: a grid, bench_serving JSONL, a server log with request time "
            "stats, or --export-metrics-to-file JSONL; told apart by content. Give the files of P and D together.",
        ),
    ],
    manifest: Annotated[
        Path, typer.Option(help="manifest.json with machine, engine and flags; its hashes are filled in.")
    ],
    out: OutOption,
    arm: Annotated[Arm | None, typer.Option(help="Arm of the requests, where the record does not say it.")] = None,
    transport: Annotated[
        Transport | None, typer.Option(help="What KV travelled over, where the manifest lists several.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Convert recorded runs, or the engine's own records of requests, into a folder of raw measurements.

    Example: ppdsim import p.log d.log --arm p-full --manifest manifest.json -o calibration/measurements/my-run
    """
    from ppdsim import measurements
    from ppdsim.calibrate.records import Deployment, import_records, read_manifest_template

    check_folder(out)
    said = Deployment(arm=arm, transport=transport)
    form, notes, written = import_records(sources, read_manifest_template(manifest), out, said=said)
    loaded = measurements.read(out)
    say(f"{form.value}: {loaded.describe()}", quiet=quiet)
    for note in notes:
        say(note, quiet=quiet)
    for refused in loaded.refused:
        say(f"refused row {refused.row} ({refused.kind}): {refused.reason}", quiet=quiet)
    wrote(written, quiet=quiet)
