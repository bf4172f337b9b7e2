"""Telling recorded files apart by what is in them.

A file whose first line is a JSON object is told by its keys: a grid has `kind`, a record of --export-metrics-to-file
`request_parameters`, a run of bench_serving `backend` and `duration`. Any other file with a ReqTimeStats line is a
server log.
"""

from __future__ import annotations

import json
from enum import Enum

from ppdsim.engines.sglang.records.source import Source
from ppdsim.engines.sglang.records.time_stats import MARK
from ppdsim.errors import MeasurementError


class Format(str, Enum):
    """What `ppdsim import` reads."""

    GRID = "recorded grid"
    BENCH_SERVING = "bench_serving JSONL"
    METRICS_EXPORT = "--export-metrics-to-file JSONL"
    TIME_STATS = "request time stats log"


KEYS: tuple[tuple[frozenset[str], Format], ...] = (
    (frozenset({"request_parameters"}), Format.METRICS_EXPORT),
    (frozenset({"backend", "duration"}), Format.BENCH_SERVING),
    (frozenset({"kind"}), Format.GRID),
)


def recognise(source: Source) -> Format:
    """Return the format of a recorded file.

    Raises
    ------
    MeasurementError
        If it is none that is known; the message says what was looked for.
    """
    first = next(iter(source.filled()), None)
    if first is None:
        raise MeasurementError(f"{source.path}: no rows")
    number, line = first
    if line.lstrip().startswith("{"):
        keys = _keys(line)
        for needed, form in KEYS:
            if needed <= keys:
                return form
    if MARK in source.text:
        return Format.TIME_STATS
    shown = line.strip() if len(line.strip()) <= 60 else line.strip()[:57] + "..."
    raise MeasurementError(
        f"{source.where(number)}: not a recorded file that is known: expected JSON lines with 'kind' (grid), 'backend' "
        "and 'duration' (bench_serving) or 'request_parameters' (--export-metrics-to-file), or a server log with "
        f"{MARK}...) lines (--enable-request-time-stats-logging); got {shown!r}"
    )


def _keys(line: str) -> frozenset[str]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(record) if isinstance(record, dict) else frozenset()
