"""Telling recorded files apart by what is in them.

A file whose first line is a JSON object is told by its keys: a grid has `kind`, a record of --export-metrics-to-file
`request_parameters`, a run of bench_serving `backend` and `duration`. Any other file with a ReqTimeStats line is a
server log.
"""

from __future__ import annotations

import json

from ppdsim.engines.records.source import Source
from ppdsim.engines.sglang.records.time_stats import MARK


class Format:
    """What is recorded, in words."""

    GRID = "recorded grid"
    BENCH_SERVING = "bench_serving JSONL"
    METRICS_EXPORT = "--export-metrics-to-file JSONL"
    TIME_STATS = "request time stats log"


KEYS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"request_parameters"}), Format.METRICS_EXPORT),
    (frozenset({"backend", "duration"}), Format.BENCH_SERVING),
    (frozenset({"kind"}), Format.GRID),
)


def recognise(source: Source) -> str | None:
    """Return the format of a recorded file; None for a file of somebody else."""
    _, line = next(source.filled())
    if line.lstrip().startswith("{"):
        keys = _keys(line)
        for needed, form in KEYS:
            if needed <= keys:
                return form
    return Format.TIME_STATS if MARK in source.text else None


def _keys(line: str) -> frozenset[str]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(record) if isinstance(record, dict) else frozenset()
