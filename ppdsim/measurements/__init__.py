"""Raw measurements on disk: ``<id>/points.jsonl[.gz]`` (or .csv) beside ``<id>/manifest.json``; one schema for all.

A row is one of these kinds, told apart by ``kind``: `prefill` (one turn at idle machines), `decode` (steady inter-token
latency of a batch), `interference` (appends injected into decoding streams), `load` (a turn of a multi-turn load) and
`transfer` (bytes over the link alone); a line of kind `outlier` marks an earlier row. Names are the glossary's, every
quantity has a unit suffix, times are seconds.
``ppdsim schema measurements`` prints the JSON Schema.

A file that is not of this form is an error with its line. A row of the right form that cannot be true (see
`impossible`) is refused: left out, counted, and shown by every command that reads it.
"""

from __future__ import annotations

from typing import Any

from ppdsim.measurements.folder import Measurements, Refused, apply_marks, read
from ppdsim.measurements.impossible import impossible
from ppdsim.measurements.machine import Gpu, HardwareFloor, Model
from ppdsim.measurements.manifest import SCHEMA, Manifest, check_manifest, read_manifest
from ppdsim.measurements.rows import (
    KINDS,
    DecodeRow,
    InterferenceRow,
    LoadRow,
    MeasuredRow,
    OutlierMark,
    PlayedTurn,
    PrefillRow,
    ServerTimes,
    TransferRow,
    parse_row,
    row_schema,
)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a row and of the manifest."""
    return {"$id": SCHEMA, "row": row_schema(), "manifest": Manifest.model_json_schema(by_alias=True)}


__all__ = [
    "KINDS",
    "SCHEMA",
    "DecodeRow",
    "Gpu",
    "HardwareFloor",
    "InterferenceRow",
    "LoadRow",
    "Manifest",
    "MeasuredRow",
    "Measurements",
    "Model",
    "OutlierMark",
    "PlayedTurn",
    "PrefillRow",
    "Refused",
    "ServerTimes",
    "TransferRow",
    "apply_marks",
    "check_manifest",
    "impossible",
    "json_schema",
    "parse_row",
    "read",
    "read_manifest",
]
