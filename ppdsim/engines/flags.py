"""A flag of an engine, as a scenario sets it: its name, its type and its range. An engine's folder has the table.

Not modelled: flags that the simulator has no mechanism for; they are in no table, so that a scenario cannot set them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from ppdsim.errors import ScenarioError
from ppdsim.limits import COUNT, NUMBER
from ppdsim.printable import shortened

FlagValue: TypeAlias = bool | int | float
"""What a flag may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag.

    Attributes
    ----------
    name : str
        The engine's own name of it; an environment variable in lower case, without the engine's prefix, with its unit.
    kind : type
        ``bool``, ``int`` or ``float``.
    least, most : float
        The range of a number, in the flag's own unit.
    simulated_only : bool
        The simulator follows it, the formulas of a crossover use what the engine does without it.
    """

    name: str
    kind: type[bool] | type[int] | type[float]
    least: float = 1
    most: float = COUNT.value
    simulated_only: bool = False

    def read(self, given: Any, where: str) -> FlagValue:
        """Return a value of this flag's type.

        Parameters
        ----------
        where : str
            What was set: the start of the error.

        Raises
        ------
        ScenarioError
            If it is of another type or out of range.

        Examples
        --------
        >>> Flag(name="page_size", kind=int, most=2**20).read(True, "engine.flags.page_size")
        Traceback (most recent call last):
        ppdsim.errors.ScenarioError: engine.flags.page_size: given True, expected a whole number from 1 to 1,048,576
        """
        if self.kind is bool:
            fits, expected = isinstance(given, bool), "true or false"
        else:
            number = not isinstance(given, bool) and isinstance(given, (int, float) if self.kind is float else int)
            fits = number and self.least <= given <= self.most
            what = "number" if self.kind is float else "whole number"
            expected = f"a {what} from {self.least:,} to {self.most:,}"
        if not fits:
            raise ScenarioError(f"{where}: given {shortened(given)}, expected {expected}")
        return self.kind(given)


def seconds(name: str) -> Flag:
    """Return a flag that is a time above 0 [s], which only the simulator follows."""
    return Flag(name=name, kind=float, least=1.0 / NUMBER.value, most=NUMBER.value, simulated_only=True)
