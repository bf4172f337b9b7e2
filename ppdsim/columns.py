"""Columns of a table: arrays, and texts that are spelled out only when somebody looks.

A column of a few repeated names, or one that says what other columns say, would be the largest part of a table of a
million rows. Such a column is a function from rows to their values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Spelled: TypeAlias = Callable[[slice], Array]
"""Returns the values of some rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """A column of a few names: row i has ``names[codes[i]]``."""

    codes: NDArray[np.uint8]
    names: tuple[str, ...]

    def __call__(self, rows: slice) -> Array:
        """Return the names of some rows."""
        return np.array(self.names)[self.codes[rows]]


class Columns(Mapping[str, Array]):
    """Columns of equal length by name, in order."""

    __slots__ = ("_columns",)

    def __init__(self, columns: Mapping[str, Array | Spelled]) -> None:
        self._columns = dict(columns)

    def __getitem__(self, name: str) -> Array:
        return self.part(name, slice(None))

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def part(self, name: str, rows: slice) -> Array:
        """Return some rows of a column."""
        column = self._columns[name]
        return column[rows] if isinstance(column, np.ndarray) else column(rows)
