"""The time that a plan may spend on warm servers: what was spent, what a row costs, and who may spend the rest.

A budget ends repeats and nothing else: every cell is measured once, whatever that takes. What is left then is shared
between the services by what their missing rows cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ppdsim.measure.cells import Cell

UNKNOWN_S = 1.0
"""What a row is taken to cost while no cell was measured [s]."""


@dataclass
class Budget:
    """What a call may spend, and what it has spent.

    `total_s` is the plan's budget, None without one; `spent_s` counts all time on warm servers, and none of their
    starts; `costs_s` is what each cell took last, by key [s].
    """

    total_s: float | None
    spent_s: float = 0.0
    costs_s: dict[str, float] = field(default_factory=dict)

    def share_s(self, lacking: Sequence[Sequence[Cell]]) -> float:
        """Return the first service's share of what is left [s]; infinite without a budget.

        Each gets in proportion to what one more row of all the cells costs that it is `lacking`; where that is not
        known yet, it is taken to be the mean of those that are.
        """
        if self.total_s is None:
            return np.inf
        typical_s = float(np.mean(list(self.costs_s.values()))) if self.costs_s else UNKNOWN_S
        needs_s = [sum(self.costs_s.get(cell.key, typical_s) for cell in cells) for cells in lacking]
        return max(0.0, self.total_s - self.spent_s) * needs_s[0] / max(sum(needs_s), 1e-9)

    def fewer(self, service: str, plan: str, keys: Sequence[str]) -> str:
        """Return the note on cells of a service that were left with fewer repeats."""
        return (
            f"{fewer_note(service, plan)} in {len(keys)} cell{'s' * (len(keys) > 1)}, its budget of {self.total_s:g} s "
            "was spent (--resume goes on with a new one)"
        )


def fewer_note(service: str, plan: str) -> str:
    """Return how the note on a service's missing repeats begins."""
    return f"repeats of {service}: fewer than plan '{plan}' asks for"
