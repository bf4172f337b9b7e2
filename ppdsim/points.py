"""Points to predict: rows of kind, arm, transport and token counts, from CSV or JSON lines.

Columns: ``kind`` = prefill | decode | stall, ``arm`` = append-d | p-full | p-delta, ``transport`` = none | nvlink |
tcp | rdma, ``cached_tokens``, ``new_tokens``, ``batch``, ``context_tokens`` and optionally ``prefill_cached_tokens``
(what P has cached: by default cached_tokens; 0 = cold). The same reader serves anchor probes, which add ``ttft_s``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdsim.errors import InputError, misspelt, nearest, unknown
from ppdsim.limits import BATCH, TOKENS, Limit
from ppdsim.reading import csv_rows, json_lines, lines
from ppdsim.types import Arm, Transport

POINT_KINDS = ("prefill", "decode", "stall")
REQUIRED = {
    "prefill": ("cached_tokens", "new_tokens"),
    "decode": ("batch", "context_tokens"),
    "stall": ("cached_tokens", "new_tokens", "batch", "context_tokens"),
}
COLUMNS = (
    "kind",
    "arm",
    "transport",
    "cached_tokens",
    "new_tokens",
    "batch",
    "context_tokens",
    "prefill_cached_tokens",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One thing to predict; token counts that do not apply are 0. `source` keeps the row as it was given."""

    kind: str
    arm: Arm
    transport: Transport
    cached_tokens: float
    new_tokens: float
    batch: float
    context_tokens: float
    prefill_cached_tokens: float | None
    source: dict[str, Any]


def read_points(path: Path) -> Iterator[Point]:
    """Yield the points of a file as it is read; ``.jsonl`` is one object a line, anything else CSV; gz allowed.

    Raises
    ------
    InputError
        Naming file and row, the column, what was given and what was expected.
    """
    empty = True
    for where, record in read_records(path):
        empty = False
        yield parse_point(record, where)
    if empty:
        raise InputError(f"{path}: no points; expected a header with {', '.join(COLUMNS)} and at least one row")


def read_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file:line, record) of a CSV or JSON-lines file.

    Raises
    ------
    InputError
        If it cannot be read, or a line is malformed.
    """
    _, first = next(lines(path), (0, ""))
    rows = json_lines(path) if ".jsonl" in path.suffixes or first.lstrip().startswith("{") else csv_rows(path)
    for number, record in rows:
        yield f"{path}:{number}", record


def parse_point(record: dict[str, Any], where: str) -> Point:
    """Check one record.

    Raises
    ------
    InputError
        Naming `where`, the column, what was given and what was expected.
    """
    kind = str(record.get("kind", ""))
    if kind not in POINT_KINDS:
        raise InputError(f"{where}: kind={kind!r} is not one of {', '.join(POINT_KINDS)}{nearest(kind, POINT_KINDS)}")
    arm = _choice(record, "arm", Arm.APPEND_D.value, [a.value for a in Arm], where)
    transport = _choice(record, "transport", Transport.NONE.value, [t.value for t in Transport], where)
    if (arm == Arm.APPEND_D.value) != (transport == Transport.NONE.value):
        expected = "none" if arm == Arm.APPEND_D.value else "nvlink, tcp or rdma"
        raise InputError(f"{where}: transport={transport!r} with arm={arm!r}; expected {expected}")
    if kind != "prefill" and arm != Arm.APPEND_D.value:
        raise InputError(f"{where}: a {kind} point has arm 'append-d', got {arm!r}")
    numbers = {
        name: number(record, name, where, required=name in REQUIRED[kind], limit=BATCH if name == "batch" else TOKENS)
        for name in COLUMNS[3:7]
    }
    for name, least in (("new_tokens", kind != "decode"), ("batch", kind != "prefill")):
        if least and numbers[name] < 1:
            raise InputError(f"{where}: {name}={numbers[name]:g}, expected at least 1")
    on_p = record.get("prefill_cached_tokens")
    prefill_cached = (
        None if on_p in (None, "") else number(record, "prefill_cached_tokens", where, required=True, limit=TOKENS)
    )
    if prefill_cached is not None and prefill_cached >= numbers["cached_tokens"] + numbers["new_tokens"]:
        raise InputError(
            f"{where}: prefill_cached_tokens={prefill_cached:g} covers the whole prompt of "
            f"{numbers['cached_tokens'] + numbers['new_tokens']:g} tokens; P computes at least one"
        )
    return Point(
        kind=kind,
        arm=Arm(arm),
        transport=Transport(transport),
        prefill_cached_tokens=prefill_cached,
        source=record,
        **numbers,
    )


def number(record: dict[str, Any], name: str, where: str, *, required: bool, limit: Limit | None = None) -> float:
    """Return a non-negative finite number of a record, 0 if it is absent and not required.

    Raises
    ------
    InputError
        If it is missing, not a number, negative, not finite or above `limit`.
    """
    given = record.get(name)
    if given in (None, ""):
        if required:
            raise InputError(f"{where}: column '{name}' is missing or empty{misspelt(name, record, known=COLUMNS)}")
        return 0.0
    try:
        value = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: {name}={str(given)[:40]!r} is not a number") from None
    if not math.isfinite(value) or value < 0:
        raise InputError(f"{where}: {name}={str(given).strip()}, expected a finite number that is not negative")
    if limit is not None:
        limit.check(value, f"{where}: {name}")
    return value


def _choice(record: dict[str, Any], name: str, default: str, valid: Sequence[str], where: str) -> str:
    given = str(record.get(name) or default)
    if given not in valid:
        raise InputError(f"{where}: {unknown(name, given, valid)}")
    return given
