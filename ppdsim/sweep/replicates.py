"""The replications behind a number of a sweep: runs of several seeds, or parts of the one run where no seed changes it.

Of several points together (a difference, a line of points) the replications are paired: the same seeds, or the same
parts, at each. They are seeds as soon as a seed changes the runs of one of the points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppdsim.analytical.replications import mean_interval
from ppdsim.answers import Interval
from ppdsim.cost.base import Array
from ppdsim.metrics import Scale
from ppdsim.sweep.measures import PARTS, Rows, column, parts
from ppdsim.sweep.plan import SweepPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicates:
    """A measure at some points.

    Attributes
    ----------
    values : array
        By replication and point, shape (n, points), without replications that lack the measure at one of them.
    whole : array
        The number of each point, shape (points,): the mean over seeds, or that of the whole run; NaN without any.
    """

    values: Array
    whole: Array

    def gain_over(self, point: int) -> Replicates:
        """Return what each point has more than one of them."""
        return Replicates(values=self.values - self.values[:, [point]], whole=self.whole - self.whole[point])

    def interval(self, scale: Scale, *, point: int = 0) -> Interval | None:
        """Return the 90 % interval at a point; None where the replications show no spread."""
        if np.isnan(self.whole[point]):
            return None
        return mean_interval(self.values[:, point], scale=scale, whole=float(self.whole[point]))


def replicates(plan: SweepPlan, rows: Rows, points: Sequence[int], measure: str) -> Replicates:
    """Return a column of the rows at some points, whose numbers in the grid these are."""
    seeded = np.array([column(rows, number, plan.seeds, measure) for number in points]).T
    if any(plan.points[number].drawn for number in points):
        values = _known(seeded)
        empty = np.full(len(points), np.nan)
        return Replicates(values=values, whole=values.mean(axis=0) if len(values) else empty)
    by_part = [parts(rows, number, plan.seeds, measure) for number in points]
    # Points may have different numbers of turns, and then of parts, only where there are fewer than all parts need.
    count = min(map(len, by_part))
    return Replicates(values=_known(np.array([each[:count] for each in by_part]).T), whole=seeded[0])


def parts_in(plan: SweepPlan, rows: Rows) -> int:
    """Return how many parts the runs that no seed changes have; 0 where seeds change all runs."""
    known = (rows[number, seed].get(PARTS) for number, seed in rows if not plan.points[number].drawn)
    return max((len(next(iter(found.values()))) for found in known if found), default=0)


def _known(values: Array) -> Array:
    return np.asarray(values[~np.isnan(values).any(axis=1)])
