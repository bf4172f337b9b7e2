"""A calibration profile: the fitted curves of one machine pair, model and engine, as one JSON file.

``load(path)`` reads one, ``save(profile, path)`` writes one; `ppdsim.compose` makes a model of it.
"""

from __future__ import annotations

from ppdsim.profile.file import ALWAYS, json_schema, load, save, to_json
from ppdsim.profile.records import (
    SCHEMA,
    CurveRecord,
    Drift,
    ErrorRecord,
    KvPool,
    MatricesRecord,
    ModelRecord,
    ParameterRecord,
    Profile,
)

__all__ = [
    "ALWAYS",
    "SCHEMA",
    "CurveRecord",
    "Drift",
    "ErrorRecord",
    "KvPool",
    "MatricesRecord",
    "ModelRecord",
    "ParameterRecord",
    "Profile",
    "json_schema",
    "load",
    "save",
    "to_json",
]
