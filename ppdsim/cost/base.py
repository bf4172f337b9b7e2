"""What every cost curve is: named parameters with a unit and a bound, and seconds as a function of token counts.

A parameter is a float, or an array of shape ``(draws, 1)``: the formulas use arithmetic that means the same for both,
so one evaluation gives the central value or all bootstrap draws. Scalars in give a float out, which keeps the
simulator's per-turn path free of numpy.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ppdsim.errors import ProfileError, nearest
from ppdsim.types import Tag

Array: TypeAlias = NDArray[np.floating[Any]]
Quantity: TypeAlias = float | Array
"""A number, or an array of them; two arrays broadcast."""

C = TypeVar("C", bound="AbstractCurve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A fitted or assumed number of a curve: its unit, its bounds, what it is, and where its value comes from."""

    name: str
    unit: str
    low: float
    high: float
    meaning: str
    tag: Tag = Tag.MEASURED


class AbstractCurve:
    """A final subclass is a frozen dataclass: the names in `PARAMETERS`, and what it takes from the engine."""

    kind: ClassVar[str]
    PARAMETERS: ClassVar[tuple[Parameter, ...]]

    def parameter_values(self) -> dict[str, Quantity]:
        """Return the parameters by name."""
        return {p.name: getattr(self, p.name) for p in self.PARAMETERS}

    @classmethod
    def from_values(cls: type[C], values: Mapping[str, Quantity], **facts: tuple[int, ...]) -> C:
        """Build the curve from named parameters, and what it takes from the engine.

        Raises
        ------
        ProfileError
            If a parameter is missing or unknown.
        """
        names = [p.name for p in cls.PARAMETERS]
        for name in values:
            if name not in names:
                raise ProfileError(f"curve '{cls.kind}': unknown parameter '{name}'{nearest(name, names)}")
        missing = [name for name in names if name not in values]
        if missing:
            raise ProfileError(f"curve '{cls.kind}': missing parameter '{missing[0]}'")
        return cls(**values, **facts)

    def with_values(self: C, values: Mapping[str, Quantity]) -> C:
        """Return the same curve with other parameters; it must be a dataclass."""
        return replace(self, **values)  # type: ignore[type-var]


def maximum(a: Quantity, b: Quantity) -> Quantity:
    """Elementwise maximum; a float when both are floats."""
    above = a >= b  # of two floats a plain bool, which is told apart quicker than their types are
    if above is True:
        return a
    if above is False:
        return b
    return np.maximum(a, b)


def minimum(a: Quantity, b: Quantity) -> Quantity:
    """Elementwise minimum; a float when both are floats."""
    below = a <= b
    if below is True:
        return a
    if below is False:
        return b
    return np.minimum(a, b)


def pad_up(count: Quantity, sizes: tuple[int, ...]) -> Quantity:
    """Round up to the next captured size; beyond the largest one the count stays as it is (the engine runs eager).

    >>> pad_up(5.0, (4, 8, 16)), pad_up(8.0, (4, 8, 16)), pad_up(20.0, (4, 8, 16)), pad_up(0.0, (4, 8))
    (8.0, 8.0, 20.0, 0.0)
    """
    if isinstance(count, (int, float)):
        if count <= 0 or count > sizes[-1]:
            return float(count)
        return float(sizes[bisect_left(sizes, count)])
    table = np.asarray((*sizes, np.inf), dtype=np.float64)
    padded = table[np.searchsorted(table[:-1], count)]
    return np.where((count <= 0) | (count > sizes[-1]), count, padded)
