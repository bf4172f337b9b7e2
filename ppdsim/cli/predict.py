"""``ppdsim predict``: seconds with an interval for a file of points."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from ppdsim.cli.common import ForceOption, JsonOption, ProfileArgument, echo, echo_json, print_written
from ppdsim.cli.run_folder import check_file
from ppdsim.files import whole
from ppdsim.printable import cell

if TYPE_CHECKING:
    from ppdsim.points import Point
    from ppdsim.predict import Prediction

ADDED = ("predicted_s", "low_s", "high_s", "extrapolated", "mechanisms")
"""Columns of the answer, after those of the points."""


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
    json: JsonOption = False,
) -> None:
    """Predict TTFT, inter-token latency or stall gap of points; low_s to high_s is the 90 % interval for another run.

    Example: ppdsim predict h200 --points points.csv -o predicted.csv
    """
    from ppdsim import library
    from ppdsim import profile as profiles
    from ppdsim.errors import InputError
    from ppdsim.limits import CSV_COLUMNS
    from ppdsim.points import read_points
    from ppdsim.predict import check
    from ppdsim.predict import predict as predicted

    if json and out is not None:
        raise InputError("--json with -o: the document goes to stdout, the CSV to a file; give one of them")
    if out is not None:
        check_file(out, "-o", force=force)
    measured = profiles.load(library.find("profile", profile))
    # A first reading finds every mistake before a row is written, and the columns of all rows.
    columns: dict[str, None] = {}
    for point in read_points(points):
        check(measured, point)
        columns.update(dict.fromkeys(point.source))
        CSV_COLUMNS.check(len(columns), f"{points}: columns")
    columns.update(dict.fromkeys(ADDED))
    seen, rows = tee(read_points(points))
    answered = zip(seen, predicted(measured, rows, within_run=within_run), strict=True)
    if json:
        for part in _document(measured.id, within_run, answered):
            echo_json(part)
        return
    lines = _csv(columns, answered)
    if out is None:
        for line in lines:
            echo(line, nl=False)
        return
    with whole(out) as scratch, scratch.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)
    print_written([out])


def _csv(columns: Iterable[str], rows: Iterable[tuple[Point, Prediction]]) -> Iterator[str]:
    """Yield the lines of the CSV; a cell that a spreadsheet would compute becomes text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writerow({name: cell(name) for name in writer.fieldnames})
    for point, value in rows:
        yield _take_text(text)
        writer.writerow(
            {
                **{name: cell(given) for name, given in point.source.items()},
                "predicted_s": f"{value.predicted_s:.9g}",
                "low_s": f"{value.low_s:.9g}",
                "high_s": f"{value.high_s:.9g}",
                "extrapolated": str(value.extrapolated).lower(),
                "mechanisms": "; ".join(value.mechanisms),
            }
        )
    yield _take_text(text)


def _document(profile: str, within_run: bool, rows: Iterable[tuple[Point, Prediction]]) -> Iterator[bytes]:
    """Yield `Predictions` as JSON, a point at a time."""
    from ppdsim.cli.documents import PredictedPoint, Predictions

    empty = asdict(Predictions(profile=profile, within_run=within_run, points=()))
    head = orjson.dumps({key: value for key, value in empty.items() if key != "points"})
    yield head.removesuffix(b"}") + b',"points":['
    for number, (point, value) in enumerate(rows):
        row = PredictedPoint(
            point=point.source,
            predicted_s=value.predicted_s,
            low_s=value.low_s,
            high_s=value.high_s,
            extrapolated=value.extrapolated,
            mechanisms=value.mechanisms,
        )
        yield (b",\n" if number else b"\n") + orjson.dumps(asdict(row), option=orjson.OPT_SERIALIZE_NUMPY)
    yield b"\n]}\n"


def _take_text(text: io.StringIO) -> str:
    found = text.getvalue()
    text.seek(0)
    text.truncate()
    return found
