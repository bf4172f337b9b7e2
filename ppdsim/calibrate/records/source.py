"""A recorded file as it lies on disk: its bytes, its lines, and JSON lines with the place that an error names."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdsim.errors import MeasurementError

GZIP_MAGIC = b"\x1f\x8b"
"""First two bytes of a gzip file (RFC 1952, section 2.3.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One recorded file. `content` is the file as it is, `lines` its text unpacked, without line ends."""

    path: Path
    content: bytes
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the file's name without its suffixes."""
        return self.path.name.split(".")[0] or self.path.name

    def where(self, number: int) -> str:
        """Return how an error names line `number` (from 1)."""
        return f"{self.path}:{number}"

    def filled(self) -> Iterator[tuple[int, str]]:
        """Yield (number from 1, line) of every line that is not blank."""
        for number, line in enumerate(self.lines, start=1):
            if line.strip():
                yield number, line

    def json_lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (where, object) of a JSONL file.

        Raises
        ------
        MeasurementError
            If a line is not a JSON object.
        """
        for number, line in self.filled():
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise MeasurementError(
                    f"{self.where(number)}: malformed JSON ({error.msg} at column {error.colno})"
                ) from None
            except (RecursionError, ValueError):
                raise MeasurementError(f"{self.where(number)}: malformed JSON (nested too deep or too long)") from None
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
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content).decode()
    except OSError as error:
        raise MeasurementError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (EOFError, UnicodeDecodeError, zlib.error) as error:
        raise MeasurementError(f"{path}: cannot be read as text ({error})") from None
    # A JSON text may hold U+2028 and other characters at which str.splitlines would cut it.
    return Source(path=path, content=content, lines=tuple(text.split("\n")))
