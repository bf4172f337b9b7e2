"""A recorded file as it lies on disk: its bytes, its lines, and JSON lines with the place that an error names."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdsim.errors import MeasurementError
from ppdsim.limits import ROWS_BYTES
from ppdsim.reading import parse_json, read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One recorded file and its text, unpacked."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        """Return the file's name without its suffixes."""
        return self.path.name.split(".")[0] or self.path.name

    def where(self, number: int) -> str:
        """Return how an error names line `number` (from 1)."""
        return f"{self.path}:{number}"

    def filled(self) -> Iterator[tuple[int, str]]:
        """Yield (number from 1, line) of every line that is not blank."""
        # A JSON text may hold U+2028 and other characters at which str.splitlines would cut it.
        for number, line in enumerate(io.StringIO(self.text, newline="\n"), start=1):
            if line.strip():
                yield number, line.removesuffix("\n")

    def json_lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (where, object) of a JSONL file.

        Raises
        ------
        MeasurementError
            If a line is not a JSON object.
        """
        for number, line in self.filled():
            record = parse_json(line, self.where(number), error=MeasurementError, python_numbers=True)
            if not isinstance(record, dict):
                raise MeasurementError(f"{self.where(number)}: expected a JSON object, got {type(record).__name__}")
            yield self.where(number), record


def read_source(path: Path) -> Source:
    """Read a recorded file, gzip or plain.

    Raises
    ------
    MeasurementError
        If it cannot be read as text.
    """
    return Source(path=path, text=read_text(path, limit=ROWS_BYTES, error=MeasurementError))
