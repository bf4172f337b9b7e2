"""The rows of a sweep on disk: one small JSON file a row, named by its content hash, that appears whole or not at all.

So a sweep that is cut off at any moment keeps every row that had ended, two sweeps may write to one folder, and rows of
another grid in the same folder are found again when that grid is asked for again.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppdsim.errors import InputError
from ppdsim.files import whole, write_whole
from ppdsim.printable import cell
from ppdsim.reading import read_json
from ppdsim.sweep.measures import COLUMNS

FOLDER = "rows"


class RowStore:
    """The finished rows below a folder."""

    __slots__ = ("_folder",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the row of a content hash, or None if it is not there or is no row (then it is run again)."""
        try:
            row = read_json(self._folder / f"{key}.json")
        except InputError:
            return None
        return row if isinstance(row, dict) and tuple(row)[: len(COLUMNS)] == COLUMNS else None

    def put(self, key: str, row: Mapping[str, Any]) -> None:
        """Keep a row."""
        write_whole(self._folder / f"{key}.json", json.dumps(row, allow_nan=False))


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Write rows as CSV, undefined values as empty cells; the file appears whole or not at all."""
    with whole(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([cell(name) for name in header])
        writer.writerows([cell(value) for value in row] for row in rows)
    return path
