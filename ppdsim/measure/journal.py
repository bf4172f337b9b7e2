"""The raw file while it grows: one row a line, on disk as soon as it is measured; it says what is left to do.

``points.jsonl`` holds rows of the measurement schema, ``skipped.jsonl`` what could not be measured and why. Both are
only appended to, so that a run which is cut off loses nothing, and a second run on the same folder goes on from there.
A value over 1.25 times the median of its cell's others is an outlier: marked in its own row, or, where only a later
repeat shows it, by a line of its own. It is compared with the latest few, so that a probe's values of an hour ago do
not make drift look like accidents.
``limits.json`` keeps what each service's servers allowed, so that a finished one need not be started to find that out.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from ppdsim.errors import MeasurementError
from ppdsim.files import write_whole
from ppdsim.fit.cells import ACCIDENT_RATIO, relative_spread
from ppdsim.measure.limits import Limits
from ppdsim.measure.plan import Repeats
from ppdsim.measure.run_file import read_limits, read_skipped
from ppdsim.measurements import (
    DecodeRow,
    InterferenceRow,
    LoadRow,
    MeasuredRow,
    OutlierMark,
    PrefillRow,
    TransferRow,
    apply_marks,
    parse_row,
)

POINTS = "points.jsonl"
SKIPPED = "skipped.jsonl"
LIMITS = "limits.json"
TAIL_BYTES = 65_536
"""What is read at a time of a file's end, to find its last whole line [B]."""
COMPARED = 5
"""Latest values of a cell that are compared with each other: as many as a plan repeats a cell at most by default."""


class Journal:
    """The rows of one run by cell, and the files behind them.

    `last_elapsed_s` is the time of the last row [s], `repaired` what a call that was cut off had left broken, a line
    each.
    """

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
        self._values: dict[str, list[float | None]] = defaultdict(list)
        self._marked: dict[str, set[int]] = defaultdict(set)
        self._tries: dict[str, int] = defaultdict(int)
        self.rows = 0
        self.last_block = 0
        self.last_elapsed_s = 0.0
        if self._points.exists() and not resume:
            raise MeasurementError(
                f"{folder}: holds the points of an earlier run; give --resume to go on with it, or another -o"
            )
        self._limits, problem = read_limits(folder / LIMITS)
        self.repaired = [] if problem is None else [problem]
        for path in (self._points, self._skipped):
            if path.exists() and cut_torn_line(path):
                self.repaired.append(f"{path}: its last line was cut off in the middle, and is dropped")
        _, problem = read_skipped(self._skipped)
        self.repaired += [] if problem is None else [problem]
        if self._points.exists():
            for row in read_rows(folder):
                self._remember(row)

    def add(self, row: MeasuredRow) -> MeasuredRow:
        """Write a row, marked if it is an outlier of its cell, and return it as it was written.

        Earlier rows of the cell that it shows to be outliers are marked after it.
        """
        nth = len(self._values[row.cell])
        update: dict[str, object] = {}
        if _outlying(nth, [*self._values[row.cell], value_of(row)]) is not None:
            update["outlier"] = True
        if isinstance(row, (PrefillRow, TransferRow)):
            update["repeat"] = self._tries[row.cell]
        written = row.model_copy(update=update)
        self._write(written)
        self._remember(written)
        for earlier in range(max(0, nth + 1 - COMPARED), nth):
            self._review(row.cell, earlier)
        return written

    def _review(self, cell: str, nth: int) -> None:
        values = self._values[cell]
        value, median_s = values[nth], _outlying(nth, values)
        if value is not None and median_s is not None and nth not in self._marked[cell]:
            self._write(OutlierMark(cell=cell, nth=nth, value_s=value, median_s=median_s))
            self._marked[cell].add(nth)

    def _write(self, line: MeasuredRow | OutlierMark) -> None:
        with self._points.open("a") as file:
            file.write(line.model_dump_json(exclude_defaults=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

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
        limits_of_each = {name: asdict(one) for name, one in self._limits.items()}
        write_whole(self.folder / LIMITS, json.dumps(limits_of_each, indent=1) + "\n")

    def settled(self, cell: str, repeats: Repeats) -> bool:
        """Return whether a cell needs no further repeat."""
        if self._tries[cell] >= repeats.most:
            return True
        values = [v for i, v in enumerate(self._values[cell]) if v is not None and i not in self._marked[cell]]
        return len(values) >= repeats.least and relative_spread(values) < repeats.half_width

    def has(self, cell: str) -> bool:
        """Return whether a cell has any row."""
        return self._tries[cell] > 0

    def has_load(self, name: str) -> bool:
        """Return whether a load has any row, on any arm."""
        return any("/load/" in cell and cell.endswith(f"/{name}") for cell, tries in self._tries.items() if tries)

    def _remember(self, row: MeasuredRow) -> None:
        self.rows += 1
        self._tries[row.cell] += 1
        self.last_block = max(self.last_block, row.block or 0)
        if isinstance(row, (PrefillRow, DecodeRow, InterferenceRow, TransferRow)):
            self.last_elapsed_s = max(self.last_elapsed_s, row.elapsed_s)
        if row.outlier:
            self._marked[row.cell].add(len(self._values[row.cell]))
        self._values[row.cell].append(value_of(row))


def read_rows(folder: Path) -> list[MeasuredRow]:
    """Return the rows of a raw file, outliers (marked) and probes included.

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
    parsed = ((i, parse_row(_json(line, f"{path}:{i}"), where=f"{path}:{i}")) for i, line in enumerate(lines, start=1))
    return [row for _, row in apply_marks(parsed, where=str(path))]


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


def _outlying(nth: int, values: list[float | None]) -> float | None:
    """Return the median of the other values among the latest few if one of them is far above it [s], else None.

    >>> _outlying(0, [3.0, 1.0]), _outlying(1, [3.0, 1.0])
    (1.0, None)
    """
    latest = range(max(0, len(values) - COMPARED), len(values))
    others = [value for i in latest if i != nth and (value := values[i]) is not None]
    value = values[nth]
    if value is None or not others or value <= ACCIDENT_RATIO * _median(others):
        return None
    return _median(others)


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else 0.5 * (ordered[middle - 1] + ordered[middle])


def cut_torn_line(path: Path) -> bool:
    """Cut off a last line without its end, which a kill left, in place; return whether there was one.

    Nothing before it is written again, so a kill here loses nothing either.
    """
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        end = place = size
        while place:
            begin = max(0, place - TAIL_BYTES)
            file.seek(begin)
            found = file.read(place - begin).rfind(b"\n")
            end = begin + found + 1
            if found >= 0:
                break
            place = begin
        if end < size:
            file.truncate(end)
            os.fsync(file.fileno())
    return end < size
