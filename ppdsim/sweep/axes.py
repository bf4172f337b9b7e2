"""The axes of a sweep: a dotted key of the scenario and the texts it takes, as ``--set`` would take each of them.

``--grid key=a,b,c`` parts its values at commas that stand in no bracket and no quotes, so that a list is one value:
``fleet.0.count=1,2`` has two, ``workload.output_tokens.values_tokens=[1,2],[3,4]`` has two as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ppdsim.errors import InputError

OPENING, CLOSING, QUOTES = "[{", "]}", "'\""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One key of the grid with its values in the order given."""

    key: str
    values: tuple[str, ...]

    @property
    def numbers(self) -> tuple[float, ...] | None:
        """The values as numbers, or None where one of them is none."""
        numbers = [_number(value) for value in self.values]
        known = [number for number in numbers if number is not None]
        return tuple(known) if len(known) == len(numbers) else None


def axis(key: str, values: Sequence[object]) -> Axis:
    """Return an axis of values as they would stand in a scenario file.

    Raises
    ------
    InputError
        If there is no value, an empty one, or the same one twice.
    """
    texts = tuple(_text(value).strip() for value in values)
    shown = f"--grid {key}={','.join(texts)}"
    if not key or not all(texts) or not texts:
        raise InputError(f"{shown}: expected key=a,b,c, such as routing.policy=always-p,always-d")
    twice = next((text for place, text in enumerate(texts) if text in texts[:place]), None)
    if twice is not None:
        raise InputError(f"{shown}: {twice} is there twice")
    return Axis(key=key, values=texts)


def parse_axes(texts: Iterable[str]) -> tuple[Axis, ...]:
    """Return the axes of ``key=a,b,c`` texts.

    Raises
    ------
    InputError
        If a text is malformed, there is none, or a key is given twice.
    """
    found: list[Axis] = []
    for text in texts:
        key, _, values = text.partition("=")
        found.append(axis(key.strip(), _parts(values, f"--grid {text}")))
    return distinct(found)


def distinct(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Return the axes.

    Raises
    ------
    InputError
        If there is none, or two have the same key.
    """
    if not axes:
        raise InputError(
            "--grid: given none, expected at least one key=a,b,c, such as routing.policy=always-p,always-d"
        )
    keys = [each.key for each in axes]
    twice = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
    if twice is not None:
        raise InputError(f"--grid {twice}=...: the key is there twice; give all its values in one --grid")
    return tuple(axes)


def _parts(text: str, where: str) -> list[str]:
    """Return the values of a text, parted at commas outside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in QUOTES:
            quote = character
        else:
            depth += (character in OPENING) - (character in CLOSING)
        if character == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    if depth or quote:
        raise InputError(f"{where}: a bracket or a quote is not closed")
    return parts


def _text(value: object) -> str:
    """Return a Python value as a scenario file writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
