"""``ppdsim import``: recorded runs of other tools into the measurement format."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli.common import ForceOption, JsonOption, OutOption, QuietOption, print_json, print_status, print_written
from ppdsim.cli.run_folder import claim
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
        Path, typer.Option(help="manifest.json with machine, engine and flags; ppdsim fills in the hashes.")
    ],
    out: OutOption,
    arm: Annotated[Arm | None, typer.Option(help="Arm of the requests, if the record does not name it.")] = None,
    transport: Annotated[
        Transport | None, typer.Option(help="Transport of the KV, if the manifest lists several.")
    ] = None,
    force: ForceOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Convert recorded runs, or the engine's own records of requests, into a folder of raw measurements.

    Example: ppdsim import p.log d.log --arm p-full --manifest manifest.json -o calibration/measurements/my-run
    """
    from ppdsim import measurements
    from ppdsim.cli.documents import Imported
    from ppdsim.engines.importing import import_records, read_manifest_template
    from ppdsim.engines.records.deployment import Deployment

    decided_by = {"sources": sources, "manifest": manifest, "arm": arm, "transport": transport}
    folder = claim(out, command="import", on=", ".join(map(str, sources)), decided_by=decided_by, force=force)
    said = Deployment(arm=arm, transport=transport)
    template = read_manifest_template(manifest)
    with folder.writing() as written:
        form, notes, paths = import_records(sources, template, out, said=said)
        written.extend(paths)
    loaded = measurements.read(out)
    if json:
        document = Imported(
            format=form,
            described=loaded.describe(),
            notes=notes,
            refused=loaded.refused,
            files=[str(path) for path in written],
        )
        print_json(asdict(document))
    print_status(f"{form}: {loaded.describe()}", quiet=quiet)
    for note in notes:
        print_status(note, quiet=quiet)
    for refused in loaded.refused:
        print_status(f"refused row {refused.row} ({refused.kind}): {refused.reason}", quiet=quiet)
    print_written(written, quiet=quiet)
