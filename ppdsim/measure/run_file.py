"""The small files that a run folder keeps beside its rows, as they are read again.

They are checked, because a kill, a full disk or an editor may have left anything in them. ``run.json`` holds what rows
cannot be understood without, and is refused where it is malformed. ``limits.json`` and ``skipped.jsonl`` hold what
servers say again and what is measured again: what cannot be read there is dropped and named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ppdsim.engines.client import EngineInfo
from ppdsim.errors import InputError, MeasurementError
from ppdsim.limits import ROWS_BYTES
from ppdsim.measure.limits import Limits
from ppdsim.reading import raw_chunks, read_text
from ppdsim.strict import explain

RUN = "run.json"
SCHEMA = "ppdsim/run/1"


class RunFile(BaseModel):
    """``run.json``.

    `started_unix_s` is when the run began, `servers` what each service's servers said by role, `cores` the cores of
    each of them and of the client, `plans` the plans that were measured, `loads` what each load by name was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    schema_: Literal["ppdsim/run/1"] = Field(default="ppdsim/run/1", alias="schema")
    started_unix_s: float | None = None
    servers: dict[str, dict[str, EngineInfo]] = {}
    cores: dict[str, str] = {}
    plans: tuple[str, ...] = ()
    loads: dict[str, dict[str, Any]] = {}


class _Skipped(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    cell: str
    reason: str


_LIMITS = TypeAdapter(dict[str, Limits])


def read_run(folder: Path) -> RunFile:
    """Return a folder's ``run.json``; an empty one where there is none.

    Raises
    ------
    MeasurementError
        If it is malformed.
    """
    path = folder / RUN
    if not path.exists():
        return RunFile()
    try:
        return RunFile.model_validate_json(read_text(path, error=MeasurementError), strict=True)
    except ValidationError as error:
        raise MeasurementError(
            f"{path}: not the record of a run ({explain(error, tuple(RunFile.model_fields))})"
        ) from None


def read_limits(path: Path) -> tuple[dict[str, Limits], str | None]:
    """Return what servers allowed in earlier calls, by service, and why the file says nothing if it cannot be read."""
    if not path.exists():
        return {}, None
    try:
        return _LIMITS.validate_json(read_text(path), strict=True), None
    except ValidationError as error:
        return {}, f"{path}: dropped, the servers state it again ({explain(error, ())})"
    except InputError as error:
        return {}, f"dropped, the servers state it again: {error}"


def read_skipped(path: Path) -> tuple[tuple[tuple[str, str], ...], str | None]:
    """Return cell and reason of each line that can be read, and how many cannot if there are any."""
    if not path.exists():
        return (), None
    found, lost = [], 0
    for line in b"".join(raw_chunks(path, limit=ROWS_BYTES)).splitlines():
        try:
            one = _Skipped.model_validate_json(line, strict=True)
            found.append((one.cell, one.reason))
        except ValidationError:  # noqa: PERF203 - rare, and the lines after it count
            lost += 1
    return tuple(found), f"{path}: {lost} malformed line{'s' * (lost > 1)} dropped" if lost else None
