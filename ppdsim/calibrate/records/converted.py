"""What a converter returns: rows of the measurement format, and what of the record is not among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ppdsim.errors import MeasurementError
from ppdsim.measurements import LoadRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """Rows ready to be written, and one line of text for each kind of record that was left out."""

    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()


def load_record(row: LoadRow) -> dict[str, Any]:
    """Return a load row as it is written: without what is not known."""
    return row.model_dump(mode="json", exclude_none=True)


def malformed(error: ValidationError, *, where: str, expected: str) -> MeasurementError:
    """Return the first schema error of a record as one line that says what was expected."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return MeasurementError(f"{where}: no '{key}', expected {expected}")
    given = repr(first.get("input"))
    shown = given if len(given) <= 60 else given[:57] + "..."
    return MeasurementError(f"{where}: '{key}' = {shown}: {first['msg'].lower()}; expected {expected}")
