"""What the figures of a sweep share: titles of keys with units, places of the other keys, and the reader's choices."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ppdsim.report.figures._style import APPEND_COLOUR, HANDOFF_COLOURS, lighten
from ppdsim.report.figures._views import choice
from ppdsim.sweep.answer import SweepAnswer, SweepAxis, SweepPoint
from ppdsim.sweep.measures import MEASURES

UNITS = {"per_s": "1/s", "tokens": "tokens", "ms": "ms", "s": "s", "bytes": "bytes"}
"""Units by the end of a key's name, the longest ending first."""
WIDE = 20.0
"""Largest over smallest value from which a scale is logarithmic [1]."""
_FULL = (APPEND_COLOUR, *HANDOFF_COLOURS)
COLOURS = (*_FULL, *(lighten(colour, 0.45) for colour in _FULL))
"""Colours of lines, which come round again after fourteen."""

Place = tuple[tuple[str, str], ...]
"""Keys with the values they stand at."""


def key_title(axis: SweepAxis) -> str:
    """Return a key as the title of an axis."""
    if axis.numbers is None:
        return f"{axis.key} [value]"
    unit = next((unit for end, unit in UNITS.items() if axis.key.endswith(f"_{end}")), "1")
    return f"{axis.key} [{unit}]"


def measure_choice(answer: SweepAnswer, measure: str | None) -> tuple[str, dict[str, object]]:
    """Return the measure that is drawn, by default the one that is judged by, and the choice of it."""
    drawn = answer.judged_by if measure is None else measure
    return drawn, choice("sweep_measure", "measure", [(each.column, each.title) for each in MEASURES.values()], drawn)


def places(axes: Sequence[SweepAxis]) -> list[Place]:
    """Return every combination of values of some axes; one empty place of none."""
    keys = [axis.key for axis in axes]
    return [tuple(zip(keys, values, strict=True)) for values in itertools.product(*(axis.values for axis in axes))]


def place_text(place: Place) -> str:
    """Print a place by its values, with their keys where these are numbers.

    >>> place_text((("routing.policy", "ppd"), ("fleet.0.count", "2")))
    'ppd, fleet.0.count=2'
    """
    return ", ".join(f"{key}={value}" if value[:1].isdecimal() else value for key, value in place)


def points_by_place(answer: SweepAnswer) -> dict[frozenset[tuple[str, str]], SweepPoint]:
    """Return the points by their keys and values, in whatever order those are asked for."""
    keys = [axis.key for axis in answer.axes]
    return {frozenset(zip(keys, point.values, strict=True)): point for point in answer.points}


def is_wide(values: Sequence[float | None]) -> bool:
    """Return whether values need a logarithmic scale: positive and far apart.

    >>> is_wide([1.0, None, 50.0]), is_wide([1.0, 2.0]), is_wide([0.0, 50.0])
    (True, False, False)
    """
    known = [value for value in values if value is not None]
    return bool(known) and min(known) > 0.0 and max(known) > WIDE * min(known)
