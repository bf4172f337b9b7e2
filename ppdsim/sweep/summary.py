"""From rows to the answer: means over seeds with intervals, differences to the first point, crossings."""

from __future__ import annotations

import numpy as np

from ppdsim import __version__
from ppdsim.analytical.replications import mean_interval
from ppdsim.metrics import OVERLOADED
from ppdsim.sweep.answer import SCHEMA, Estimate, SweepAnswer, SweepAxis, SweepPoint
from ppdsim.sweep.crossings import crossings_of
from ppdsim.sweep.identity import revision
from ppdsim.sweep.measures import MEASURES, Rows, column
from ppdsim.sweep.plan import SweepPlan


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
    here = [rows[number, seed] for seed in plan.seeds if (number, seed) in rows]
    outside = [row["extrapolated"] for row in here if row["extrapolated"] is not None]
    return SweepPoint(
        values=plan.points[number].values,
        runs=len(here),
        overloaded=sum(row["label"] == OVERLOADED for row in here),
        ended=sum(row["ok"] for row in here) / max(sum(row["turns"] for row in here), 1),
        extrapolated=float(np.mean(outside)) if outside else None,
        estimates=tuple(_estimate(plan, rows, number, measure) for measure in MEASURES),
    )


def _estimate(plan: SweepPlan, rows: Rows, number: int, measure: str) -> Estimate:
    values = column(rows, number, plan.seeds, measure)
    # The first axis moves slowest, so the points at its first value come first.
    beside = number % (len(plan.points) // len(plan.axes[0].values))
    gaps = values - column(rows, beside, plan.seeds, measure)
    known = values[~np.isnan(values)]
    interval = mean_interval(known)
    return Estimate(
        measure=measure,
        value=float(known.mean()) if len(known) else None,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        difference=mean_interval(gaps[~np.isnan(gaps)]) if beside != number else None,
    )
