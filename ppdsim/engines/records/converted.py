"""What an engine says of its recorded files, and what a converter makes of them: rows, and what is not among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, ValidationError

from ppdsim.engines.records.deployment import Deployment
from ppdsim.engines.records.source import Source
from ppdsim.errors import MeasurementError
from ppdsim.measurements import LoadRow

MOST_TOKENS = 10**12
"""Larger counts in a record are read as damage [tokens]: a server that makes 30 k tokens/s needs a year for them."""
LONGEST_S = 1e12
"""Larger times in a record are read as damage, and so are infinity and NaN [s]; Unix time is 2e9."""
ABORT = "abort"
"""Why a request ended that failed (`finish_reason`, as SGLang writes it)."""
Count = Annotated[int, Field(ge=0, le=MOST_TOKENS)]
Seconds = Annotated[float, Field(ge=-LONGEST_S, le=LONGEST_S)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """Rows ready to be written, and one line of text for each kind of record that was left out."""

    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()


Converter = Callable[[Sequence[Source], Deployment], Converted]
"""Reads the files of one run, all of one format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The recorded files of one engine.

    Attributes
    ----------
    recognise : callable
        Returns the format of a file that is not empty, in words; None for a file of somebody else.
    converters : mapping
        How each format is read.
    expected : str
        What `recognise` looks for, in words.
    """

    recognise: Callable[[Source], str | None]
    converters: Mapping[str, Converter]
    expected: str


def converted_loads(found: Iterable[tuple[str, LoadRow]], notes: Sequence[str] = ()) -> Converted:
    """Return load rows, each with its place in the record, as they are written: without what is not known.

    A finished request that got no token is left out and counted; one that failed is a row, which reading refuses with
    its reason.

    Raises
    ------
    MeasurementError
        If a request has no prompt: no server computes one, so its record is of something else.
    """
    rows: list[dict[str, Any]] = []
    empty = 0
    for where, row in found:
        if row.prompt_tokens < 1:
            raise MeasurementError(f"{where}: a request of {row.prompt_tokens} prompt tokens, expected at least 1")
        if not row.output_tokens and row.finish_reason != ABORT:
            empty += 1
        else:
            rows.append(row.model_dump(mode="json", exclude_none=True))
    left_out = (f"{empty} answers without a token were left out",) if empty else ()
    return Converted(rows=tuple(rows), notes=(*notes, *left_out))


def malformed(error: ValidationError, *, where: str, expected: str) -> MeasurementError:
    """Return the first schema error of a record as one line that says what was expected."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return MeasurementError(f"{where}: no '{key}', expected {expected}")
    given = repr(first.get("input"))
    shown = given if len(given) <= 60 else given[:57] + "..."
    return MeasurementError(f"{where}: '{key}' = {shown}: {first['msg'].lower()}; expected {expected}")
