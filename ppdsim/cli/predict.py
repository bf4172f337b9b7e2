"""``ppdsim predict``: seconds with an interval for a file of points."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

from ppdsim.cli.common import ForceOption, ProfileArgument, echo, wrote
from ppdsim.cli.run_folder import check_file
from ppdsim.files import write_whole
from ppdsim.printable import cell


def predict(
    profile: ProfileArgument,
    points: Annotated[
        Path,
        typer.Option(
            help="CSV or JSONL with kind, arm, transport, cached_tokens, new_tokens, batch, context_tokens "
            "and optionally prefill_cached_tokens."
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="CSV to write; by default stdout.")] = None,
    within_run: Annotated[bool, typer.Option(help="Leave drift between runs out of the interval.")] = False,
    force: ForceOption = False,
) -> None:
    """Predict TTFT, inter-token latency or stall gap of points; low_s to high_s is the 90 % interval for another run.

    Example: ppdsim predict h200 --points points.csv -o predicted.csv
    """
    from ppdsim import library
    from ppdsim import profile as profiles
    from ppdsim.points import read_points
    from ppdsim.predict import predict as predicted

    if out is not None:
        check_file(out, "-o", force=force)
    rows = read_points(points)
    found = predicted(profiles.load(library.find("profile", profile)), rows, within_run=within_run)
    given = list(dict.fromkeys(name for row in rows for name in row.source))
    added = ["predicted_s", "low_s", "high_s", "extrapolated", "mechanisms"]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*given, *(name for name in added if name not in given)], lineterminator="\n")
    writer.writeheader()
    for row, value in zip(rows, found, strict=True):
        writer.writerow(
            {
                **{name: cell(given) for name, given in row.source.items()},
                "predicted_s": f"{value.predicted_s:.9g}",
                "low_s": f"{value.low_s:.9g}",
                "high_s": f"{value.high_s:.9g}",
                "extrapolated": str(value.extrapolated).lower(),
                "mechanisms": "; ".join(value.mechanisms),
            }
        )
    if out is None:
        echo(text.getvalue(), nl=False)
        return
    wrote([write_whole(out, text.getvalue())])
