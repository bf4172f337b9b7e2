"""What a converter returns: rows of the measurement format, and what of the record is not among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, ValidationError

from ppdsim.errors import MeasurementError
from ppdsim.measurements import LoadRow

MOST_TOKENS = 10**12
"""Larger counts in a record are read as damage [tokens]: a server that makes 30 k tokens/s needs a year for them."""
LONGEST_S = 1e12
"""Larger times in a record are read as damage, and so are infinity and NaN [s]; Unix time is 2e9."""
Count = Annotated[int, Field(ge=0, le=MOST_TOKENS)]
Seconds = Annotated[float, Field(ge=-LONGEST_S, le=LONGEST_S)]


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
