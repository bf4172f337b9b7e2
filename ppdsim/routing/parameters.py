"""A policy's parameters as a scenario gives them: each by name, checked, with its default; unknown names are refused.

A value is checked where it is read, so the message has the key, what was given and what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ppdsim.errors import ScenarioError, nearest

Value: TypeAlias = bool | int | float | str
WHERE = "routing.parameters"


class Reader:
    """The parameters of one policy, read once each."""

    __slots__ = ("_asked", "_given")

    def __init__(self, given: Mapping[str, Value]) -> None:
        self._given = given
        self._asked: list[str] = []

    def tokens(self, name: str, default: int) -> int:
        """Return a count of tokens from 0."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise _wrong(name, value, "a count of tokens from 0")
        return value

    def number(self, name: str, default: float, *, at_most: float = math.inf) -> float:
        """Return a number from 0 to `at_most`."""
        value = self._get(name, default)
        if isinstance(value, (bool, str)) or not 0.0 <= value <= at_most or math.isinf(value):
            raise _wrong(name, value, f"a number from 0 to {at_most:g}" if at_most < math.inf else "a number from 0")
        return float(value)

    def optional(self, name: str) -> float | None:
        """Return a number from 0, or None where it is left out."""
        self._asked.append(name)
        return self.number(name, 0.0) if name in self._given else None

    def choice(self, name: str, valid: Sequence[str]) -> str:
        """Return one of `valid`, by default the first."""
        value = self._get(name, valid[0])
        if value not in valid:
            raise _wrong(name, value, ", ".join(valid) + nearest(str(value), valid))
        return str(value)

    def end(self) -> None:
        """Refuse names that nobody asked for.

        Raises
        ------
        ScenarioError
            If there is one.
        """
        for name in self._given:
            if name not in self._asked:
                expected = ", ".join(self._asked) or "none"
                raise ScenarioError(
                    f"{WHERE}: unknown parameter '{name}' (valid: {expected}){nearest(name, self._asked)}"
                )

    def _get(self, name: str, default: Value) -> Value:
        if name not in self._asked:
            self._asked.append(name)
        return self._given.get(name, default)


def _wrong(name: str, value: Value, expected: str) -> ScenarioError:
    return ScenarioError(f"{WHERE}.{name}: given {value!r}, expected {expected}")
