"""From rows to the answer: means over seeds with intervals, differences to the first point, crossings."""

from __future__ import annotations

import math

import numpy as np

from ppdsim import __version__
from ppdsim.metrics import OVERLOADED
from ppdsim.sweep.answer import SCHEMA, Estimate, SweepAnswer, SweepAxis, SweepDifference, SweepPoint
from ppdsim.sweep.crossings import crossings_of
from ppdsim.sweep.identity import revision
from ppdsim.sweep.measures import MEASURES, Measure, Rows
from ppdsim.sweep.plan import SweepPlan
from ppdsim.sweep.replicates import parts_in, replicates


def summarise(plan: SweepPlan, rows: Rows, judged_by: str) -> SweepAnswer:
    """Return the answer of the rows that there are.

    Parameters
    ----------
    judged_by
        Column of the printed summary and of its crossings, one of `MEASURES`.

    Raises
    ------
    UnknownNameError
        If there is no such measure.
    """
    by = MEASURES[judged_by]
    axes = tuple(SweepAxis(key=each.key, values=each.values, numbers=each.numbers) for each in plan.axes)
    points = tuple(_point(plan, rows, number) for number in range(len(plan.points)))
    profiles = {group.profile or point.scenario.profile for point in plan.points for group in point.scenario.fleet}
    return SweepAnswer(
        schema=SCHEMA,
        scenario=plan.scenario,
        question=plan.question,
        judged_by=by.column,
        axes=axes,
        seeds=plan.seeds,
        parts=parts_in(plan, rows),
        missing=len(plan.points) * len(plan.seeds) - len(rows),
        points=tuple(point for point in points if point.runs),
        crossings=crossings_of(plan, rows),
        notes=plan.notes,
        unread_keys=plan.unread_keys,
        provenance=(
            ("ppdsim", __version__),
            ("simulator", revision()[:16]),
            ("profiles", ", ".join(sorted(profiles))),
        ),
    )


def _point(plan: SweepPlan, rows: Rows, number: int) -> SweepPoint:
    here = [rows[number, seed] for seed in plan.seeds_of(number) if (number, seed) in rows]
    outside = [row["extrapolated"] for row in here if row["extrapolated"] is not None]
    return SweepPoint(
        values=plan.points[number].values,
        runs=len(here),
        overloaded=sum(row["label"] == OVERLOADED for row in here),
        ended=sum(row["ok"] for row in here) / max(sum(row["turns"] for row in here), 1),
        extrapolated=float(np.mean(outside)) if outside else None,
        estimates=tuple(_estimate(plan, rows, number, measure) for measure in MEASURES.values()),
    )


def _estimate(plan: SweepPlan, rows: Rows, number: int, measure: Measure) -> Estimate:
    own = replicates(plan, rows, (number,), measure.column)
    value = float(own.whole[0])
    # The first axis moves slowest, so the points at its first value come first.
    beside = number % (len(plan.points) // len(plan.axes[0].values))
    interval = own.interval(measure.values)
    return Estimate(
        measure=measure.column,
        value=None if math.isnan(value) else value,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        difference=None if beside == number else _difference(plan, rows, (beside, number), measure),
    )


def _difference(plan: SweepPlan, rows: Rows, pair: tuple[int, int], measure: Measure) -> SweepDifference | None:
    found = replicates(plan, rows, pair, measure.column)
    gap = found.gain_over(0)
    if len(gap.values) < 2:
        return None
    interval = gap.interval(measure.differences, point=1)
    return SweepDifference(
        value=float(gap.whole[1]),
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
    )
