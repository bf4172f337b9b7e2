"""``ppdsim fit``: raw measurements to a profile, or a profile to the launch floor of another run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli.common import ForceOption, JsonOption, QuietOption, print_json, print_status, print_written
from ppdsim.cli.run_folder import check_file


def fit(
    source: Annotated[
        Path, typer.Argument(help="Folder of raw measurements; with --anchor also a profile to re-anchor.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Profile to write (JSON).")],
    anchor: Annotated[
        Path | None,
        typer.Option(help="Probe rows of another run (cached_tokens, new_tokens, ttft_s): re-fits the launch floor."),
    ] = None,
    force: ForceOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fit the cost curves to measurements and write a profile.

    Example: ppdsim fit calibration/measurements/my-machine -o my-machine.json
    """
    from ppdsim import library, measurements, profile
    from ppdsim.card import card_of, to_text
    from ppdsim.cli.documents import Fitted
    from ppdsim.errors import InputError
    from ppdsim.fit.anchor import anchor as anchored
    from ppdsim.fit.run import fit_profile

    check_file(out, "-o", force=force)
    if source.is_dir():
        measured = measurements.read(source)
        print_status(measured.describe(), quiet=quiet)
        for refused in measured.refused:
            print_status(f"refused row {refused.row} ({refused.kind}): {refused.reason}", quiet=quiet)
        fitted = fit_profile(measured, progress=lambda text: print_status(text + " ...", quiet=quiet))
    elif anchor is not None:
        fitted = profile.load(library.find("profile", str(source)))
    else:
        raise InputError(f"{source}: is not a folder of raw measurements (calibration/measurements/<id>)")
    if anchor is not None:
        fitted = anchored(fitted, anchor)
    profile.save(fitted, out)
    card = card_of(fitted)
    if json:
        print_json(asdict(Fitted(file=str(out), card=card)))
    else:
        print_status(to_text(card), quiet=quiet)
    print_written([out], quiet=quiet)
