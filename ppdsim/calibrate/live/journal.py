"""The raw file while it grows: one row a line, on disk as soon as it is measured; it says what is left to do.

``points.jsonl`` holds rows of the measurement schema, ``skipped.jsonl`` what could not be measured and why. Both are
only appended to, so that a run which is cut off loses nothing, and a second run on the same folder goes on from there.
``limits.json`` keeps what each service's servers allowed, so that a finished one need not be started to find that out.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from ppdsim.calibrate.cells import ACCIDENT_RATIO, relative_spread
from ppdsim.calibrate.live.limits import Limits
from ppdsim.calibrate.live.plan import Repeats
from ppdsim.errors import MeasurementError
from ppdsim.measurements import DecodeRow, InterferenceRow, LoadRow, MeasuredRow, PrefillRow, TransferRow, parse_row

POINTS = "points.jsonl"
SKIPPED = "skipped.jsonl"
LIMITS = "limits.json"


class Journal:
    """The rows of one run by cell, and the files behind them."""

    def __init__(self, folder: Path, *, resume: bool) -> None:
        """Open or continue a folder.

        Raises
        ------
        MeasurementError
            If the folder holds points and `resume` is not asked for, or a line of them is malformed.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._points = folder / POINTS
        self._skipped = folder / SKIPPED
        self._values: dict[str, list[float]] = defaultdict(list)
        self._tries: dict[str, int] = defaultdict(int)
        self.rows = 0
        self.last_block = 0
        if self._points.exists() and not resume:
            raise MeasurementError(
                f"{folder}: holds the points of an earlier run; give --resume to go on with it, or another -o"
            )
        self._limits = read_limits(folder)
        if self._points.exists():
            _drop_torn_line(self._points)
            for row in read_rows(folder):
                self._remember(row)

    def add(self, row: MeasuredRow) -> MeasuredRow:
        """Write a row, marked if it is an outlier of its cell, and return it as it was written."""
        seen = self._values[row.cell]
        value = value_of(row)
        update: dict[str, object] = {}
        if seen and value is not None and value > ACCIDENT_RATIO * _median(seen):
            update["outlier"] = True
        if isinstance(row, (PrefillRow, TransferRow)):
            update["repeat"] = self._tries[row.cell]
        written = row.model_copy(update=update)
        with self._points.open("a") as file:
            file.write(written.model_dump_json(exclude_defaults=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._remember(written)
        return written

    def skip(self, cell: str, reason: str) -> None:
        """Note that a cell could not be measured this time."""
        self._tries[cell] += 1
        with self._skipped.open("a") as file:
            file.write(json.dumps({"cell": cell, "reason": reason}) + "\n")

    def limits(self, service: str) -> Limits | None:
        """Return what the servers of a service allowed in this or an earlier call; None if they were never up."""
        return self._limits.get(service)

    def remember_limits(self, service: str, limits: Limits) -> None:
        """Keep what the servers of a service allow."""
        self._limits[service] = limits
        path = self.folder / LIMITS
        temporary = path.with_name(f".{LIMITS}.part")
        temporary.write_text(json.dumps({name: asdict(one) for name, one in self._limits.items()}, indent=1) + "\n")
        os.replace(temporary, path)

    def settled(self, cell: str, repeats: Repeats) -> bool:
        """Return whether a cell needs no further repeat."""
        if self._tries[cell] >= repeats.most:
            return True
        values = self._values[cell]
        return len(values) >= repeats.least and relative_spread(values) < repeats.half_width

    def has(self, cell: str) -> bool:
        """Return whether a cell has any row."""
        return self._tries[cell] > 0

    def _remember(self, row: MeasuredRow) -> None:
        self.rows += 1
        self._tries[row.cell] += 1
        self.last_block = max(self.last_block, row.block or 0)
        value = value_of(row)
        if value is not None and not row.outlier:
            self._values[row.cell].append(value)


def read_limits(folder: Path) -> dict[str, Limits]:
    """Return what the servers of each service allowed in earlier calls."""
    path = folder / LIMITS
    if not path.exists():
        return {}
    return {name: Limits(**values) for name, values in json.loads(path.read_text()).items()}


def read_rows(folder: Path) -> list[MeasuredRow]:
    """Return the rows of a raw file, outliers and probes included.

    Raises
    ------
    MeasurementError
        If a line is malformed; the message names it.
    """
    path = folder / POINTS
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise MeasurementError(f"{path}: cannot be read as text ({error})") from None
    return [parse_row(_json(line, f"{path}:{i}"), where=f"{path}:{i}") for i, line in enumerate(lines, start=1)]


def _json(line: str, where: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MeasurementError(f"{where}: malformed JSON ({error})") from None


def value_of(row: MeasuredRow) -> float | None:
    """Return the number that a cell's repeats are compared by [s]; None where rows of a cell are not repeats."""
    if isinstance(row, PrefillRow):
        return row.ttft_s
    if isinstance(row, DecodeRow):
        return row.itl_median_s
    if isinstance(row, InterferenceRow):
        return _median(list(row.stall_gap_s))
    if isinstance(row, TransferRow):
        return row.transfer_s
    if isinstance(row, LoadRow):
        return None
    raise TypeError(f"no value for a row of {type(row).__name__}")


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else 0.5 * (ordered[middle - 1] + ordered[middle])


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line without its end: the run was killed while it wrote it."""
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        path.write_bytes(data[: data.rfind(b"\n") + 1])
