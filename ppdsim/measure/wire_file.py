"""``wire.json``: the curve of a link that was measured alone, with the intervals of its parameters.

Not modelled: which hand-offs take that link.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ppdsim.files import write_whole
from ppdsim.fit.wire import FittedWire
from ppdsim.result_files import to_json

WIRE_FILE = "wire.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class WireParameter:
    """A fitted number with its 90 % interval, in `unit`."""

    value: float
    low: float
    high: float
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WireError:
    """Error of left-out cells, as shares."""

    median: float
    p90: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """The curve of one link; `date` is that of the fit, `libraries` are those of the transfer engine."""

    date: str
    transport: str
    memory: Literal["host", "gpu"]
    cells: int
    parameters: Mapping[str, WireParameter]
    left_out: WireError
    libraries: Mapping[str, str]
    schema: Literal["ppdsim/wire/1"] = "ppdsim/wire/1"


def save_wire(
    fitted: FittedWire,
    folder: Path,
    *,
    date: str,
    transport: str,
    memory: Literal["host", "gpu"],
    libraries: Mapping[str, str],
) -> Path:
    """Write the curve into a folder, as a file that appears whole or not at all, and return its path."""
    values = fitted.curve.parameter_values()
    parameters = {}
    for p in fitted.curve.PARAMETERS:
        low, high = fitted.interval(p.name)
        value = float(np.asarray(values[p.name]))
        parameters[p.name] = WireParameter(value=value, low=low, high=high, unit=p.unit, meaning=p.meaning)
    found = Wire(
        date=date,
        transport=transport,
        memory=memory,
        cells=fitted.cells,
        parameters=parameters,
        left_out=WireError(median=fitted.left_out_median, p90=fitted.left_out_p90),
        libraries=libraries,
    )
    return write_whole(folder / WIRE_FILE, to_json(found))
