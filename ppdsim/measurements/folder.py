"""Reading a measurement folder: the believable rows by kind, and what was refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdsim.errors import MeasurementError
from ppdsim.measurements.impossible import impossible
from ppdsim.measurements.manifest import Manifest, find_points, read_manifest
from ppdsim.measurements.rows import (
    KINDS,
    DecodeRow,
    InterferenceRow,
    LoadRow,
    OutlierMark,
    PlayedTurn,
    PrefillRow,
    TransferRow,
    parse_row,
    played,
)
from ppdsim.reading import csv_rows, lines, parse_json, sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A row that was left out: its number in the file (from 1) and why."""

    row: int
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """The believable rows of one run, what was refused, and where it came from."""

    manifest: Manifest
    path: Path
    prefill: tuple[PrefillRow, ...]
    decode: tuple[DecodeRow, ...]
    interference: tuple[InterferenceRow, ...]
    load: tuple[LoadRow, ...]
    transfer: tuple[TransferRow, ...]
    refused: tuple[Refused, ...]

    @property
    def played(self) -> tuple[PlayedTurn, ...]:
        """The turns of loads that can be played again; those of an imported record may lack what that needs."""
        turns = (played(row) for row in self.load)
        return tuple(turn for turn in turns if turn is not None)

    def describe(self) -> str:
        """Return one line: rows per kind, and how many were refused."""
        counts = ", ".join(f"{len(getattr(self, kind))} {kind}" for kind in KINDS if getattr(self, kind))
        return f"{self.manifest.id}: {counts or 'no rows'}; {len(self.refused)} refused"


def read(folder: Path) -> Measurements:
    """Read a measurement folder.

    Raises
    ------
    MeasurementError
        If the folder, the manifest or a line of the points is malformed (file and line are named).
    """
    manifest = read_manifest(folder)
    path = find_points(folder, manifest)
    if not manifest.points_sha256:
        # Measuring has not ended; what is made of these rows says which ones they were all the same.
        manifest = manifest.model_copy(update={"points_sha256": sha256(path, error=MeasurementError)})
    kept: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    refused: list[Refused] = []
    parsed = ((number, parse_row(record, where=f"{path}:{number}")) for number, record in _records(path))
    for number, row in apply_marks(parsed, where=str(path)):
        reason = impossible(row, manifest.floor)
        if reason is None:
            kept[row.kind].append(row)
        else:
            refused.append(Refused(row=number, kind=row.kind, reason=reason))
    if not refused and not any(kept.values()):
        raise MeasurementError(f"{path}: no rows")
    return Measurements(
        manifest=manifest,
        path=folder,
        refused=tuple(refused),
        **{kind: tuple(rows) for kind, rows in kept.items()},
    )


def apply_marks(found: Iterable[tuple[int, Any]], *, where: str) -> list[tuple[int, Any]]:
    """Return the (line number, row) pairs without the marks among them, each row that one is about marked.

    Raises
    ------
    MeasurementError
        If a mark is about a row that is not there before it; the message names `where` and the line.
    """
    out: list[tuple[int, Any]] = []
    places: dict[str, list[int]] = defaultdict(list)
    for number, row in found:
        if not isinstance(row, OutlierMark):
            places[row.cell].append(len(out))
            out.append((number, row))
            continue
        if not 0 <= row.nth < len(places[row.cell]):
            rows = len(places[row.cell])
            raise MeasurementError(f"{where}:{number}: marks row {row.nth} of '{row.cell}', which has {rows} before it")
        place = places[row.cell][row.nth]
        line, marked = out[place]
        out[place] = (line, marked.model_copy(update={"outlier": True}))
    return out


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, record) of a JSONL or CSV file; in a CSV an empty field is absent and ``;`` splits."""
    if ".csv" in path.suffixes:
        for number, record in csv_rows(path, error=MeasurementError):
            yield number, {k: v.split(";") if ";" in v else v for k, v in record.items() if v}
        return
    for number, line in lines(path, error=MeasurementError):
        yield number, parse_json(line, f"{path}:{number}", error=MeasurementError)
