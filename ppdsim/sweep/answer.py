"""The nouns of a sweep's answer: points with their estimates, and where the better of two alternatives changes.

Plain data in SI units, as ``sweep.json`` holds it and as the report draws it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppdsim.answers import Interval

SCHEMA: Literal["ppdsim/sweep/1"] = "ppdsim/sweep/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepAxis:
    """One key of the grid: its values as texts, and as numbers where all of them are."""

    key: str
    values: tuple[str, ...]
    numbers: tuple[float, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepDifference:
    """What a point has more than another, with its 90 % interval; no ends where it was the same in every pair."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One measure at one point.

    Attributes
    ----------
    measure : str
        Its column in the table; values are in the column's unit.
    value : float or None
        Mean over the seeds, or that of the only run; None where no run defines it.
    low, high : float or None
        90 % interval of that number over seeds, or over parts of the only run where no seed changes it
        (:mod:`ppdsim.analytical.replications`); None below two of them, or where all are equal.
    difference : SweepDifference or None
        What it has more than the point that has the first value of the first axis and is equal in the others, paired
        by seed or by part; None at such points and below two pairs.
    """

    measure: str
    value: float | None
    low: float | None
    high: float | None
    difference: SweepDifference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoint:
    """One point of the grid: a text an axis, how many seeds have run and how many of them were overloaded.

    `ended` is the share of turns that ended; all latencies are theirs alone. `extrapolated` is the mean share of turns
    outside what the profile was measured on; None where no turn ended.
    """

    values: tuple[str, ...]
    runs: int
    overloaded: int
    ended: float
    extrapolated: float | None
    estimates: tuple[Estimate, ...]

    def estimate(self, measure: str) -> Estimate:
        """Return the estimate of a measure, which must be one of `MEASURES`."""
        return next(each for each in self.estimates if each.measure == measure)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepCrossing:
    """Where along a numeric key the better of two values of another key changes, by one measure.

    Attributes
    ----------
    key, between, first, second : str
        The numeric key; the other key and the two of its values that are compared.
    fixed : tuple of (key, value)
        Where the remaining keys stand.
    values : tuple of float
        Every place where the better one changes, rising, by linear interpolation between the points of the grid.
    interval : Interval or None
        That of the last one; None where nothing changes, and where the runs or parts do not differ.
    share_without : float or None
        Share of the draws over seeds or parts that show no change; None where these do not differ.
    better_below, better_above : str
        The better value at the lowest and at the highest point of the key.
    overloaded : tuple of float
        Points of the key at which a run of either was overloaded: there the measure depends on how long the run was.
    """

    key: str
    between: str
    first: str
    second: str
    fixed: tuple[tuple[str, str], ...]
    measure: str
    low: float
    high: float
    values: tuple[float, ...]
    interval: Interval | None
    share_without: float | None
    better_below: str
    better_above: str
    overloaded: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepAnswer:
    """Everything a sweep found.

    `missing` counts rows that have not been run, because somebody stopped it; `notes` say what to beware of. `parts`
    is 0 where seeds change every run, else into how many parts the only run of a point that they do not change is cut.
    """

    schema: Literal["ppdsim/sweep/1"]
    scenario: str
    question: str
    judged_by: str
    axes: tuple[SweepAxis, ...]
    seeds: tuple[int, ...]
    parts: int
    missing: int
    points: tuple[SweepPoint, ...]
    crossings: tuple[SweepCrossing, ...]
    notes: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]
    unread_keys: tuple[str, ...] = ()
