"""``ppdsim validate``: how accurate a profile is, in words, JSON and a report; gates set the exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli import common
from ppdsim.cli.run_folder import claim
from ppdsim.files import write_whole


def validate(
    profile: common.ProfileArgument,
    measured: Annotated[
        list[Path], typer.Argument(metavar="MEASUREMENTS...", help="Folders of raw measurements to compare with.")
    ],
    fail_over: Annotated[
        str | None,
        typer.Option(
            help="Exit with code 1 if the median error of a kind of cell exceeds this (5%), or its coverage is off."
        ),
    ] = None,
    out: common.OutOption = Path("out"),
    force: common.ForceOption = False,
    json: common.JsonOption = False,
    quiet: common.QuietOption = False,
) -> None:
    """Compare a profile with measurements that it was not fitted to; write accuracy.txt, validation.json, report.html.

    The exit code is 1 if the profile was fitted to a held-out cell.

    Example: ppdsim validate h200 calibration/measurements/* -o out
    """
    from ppdsim import library, measurements
    from ppdsim import profile as profiles
    from ppdsim.errors import GateError
    from ppdsim.report import render_accuracy
    from ppdsim.result_files import to_json
    from ppdsim.validate import to_text
    from ppdsim.validate import validate as run

    decided_by = {"profile": profile, "measurements": measured}
    output = claim(out, command="validate", on=profile, decided_by=decided_by, force=force)
    limit = None if fail_over is None else _share(fail_over)
    chosen = profiles.load(library.find("profile", profile))
    runs = [measurements.read(folder) for folder in measured]
    found = run(chosen, runs, fail_over=limit, progress=lambda text: common.print_status(text + " ...", quiet=quiet))
    text, document = to_text(found), to_json(found)
    with output.writing() as written:
        written.extend(
            [
                write_whole(out / "accuracy.txt", text + "\n"),
                write_whole(out / "validation.json", document),
                write_whole(out / "report.html", render_accuracy(found, text)),
            ]
        )
    if json:
        common.echo_json(document)
    elif not quiet:
        common.echo(text)
    common.print_written(written, quiet=quiet)
    if found.failed:
        first = found.failed[0]
        more = f" and {len(found.failed) - 1} more" if len(found.failed) > 1 else ""
        raise GateError(f"{found.profile}: gate failed: {first.name}; found {first.found}{more}", answered=True)


def _share(text: str) -> float:
    """Return ``5%`` or ``0.05`` as a share."""
    from ppdsim.errors import InputError

    number = text.strip().removesuffix("%")
    try:
        value = float(number) / (100.0 if text.strip().endswith("%") else 1.0)
    except ValueError:
        value = -1.0
    if not 0.0 < value <= 1.0:
        raise InputError(f"--fail-over {text}: expected a share above 0 and at most 1, such as 5% or 0.05")
    return value
