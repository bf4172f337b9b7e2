"""Applying what a file says of its own earlier rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from ppdsim.errors import MeasurementError
from ppdsim.measurements.rows import OutlierMark


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
