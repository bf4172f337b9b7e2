"""The recorded samples, and how tests import them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fit.grids import MANIFEST
from hypothesis import strategies as st

from ppdsim import measurements
from ppdsim.engines.importing import import_records
from ppdsim.engines.records.converted import Converted
from ppdsim.engines.records.deployment import Deployment
from ppdsim.errors import MeasurementError
from ppdsim.measurements import LoadRow, Measurements

SAMPLES = Path(__file__).parent / "samples"

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
"""Any JSON value, NaN and infinity included."""


def imported(folder: Path, *paths: Path, said: Deployment | None = None) -> Measurements:
    """Import `paths` into `folder` and read the folder back."""
    import_records(paths, MANIFEST, folder, said=said or Deployment())
    return measurements.read(folder)


def rows_of(folder: Path, *paths: Path, said: Deployment | None = None) -> tuple[LoadRow, ...]:
    """Import `paths` and return the rows, none of which may be refused."""
    found = imported(folder, *paths, said=said)
    assert found.refused == ()
    return found.load


def written(path: Path, records: Sequence[Mapping[str, Any] | str]) -> Path:
    """Write records as JSON lines, and text as it is."""
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("".join(line + "\n" for line in lines))
    return path


def sample(name: str) -> list[dict[str, Any]]:
    """Return the records of a JSONL sample."""
    return [json.loads(line) for line in (SAMPLES / name).read_text().splitlines()]


def rows_or_one_line(convert: Callable[[], Converted], where: str) -> tuple[Mapping[str, Any], ...]:
    """Return the rows of a conversion; an error of it must be one line that begins with `where`, and gives no rows."""
    try:
        return convert().rows
    except MeasurementError as error:
        message = str(error)
    if "\n" in message or not message.startswith(where):
        raise AssertionError(f"not one line that begins with {where}: {message!r}")
    return ()
