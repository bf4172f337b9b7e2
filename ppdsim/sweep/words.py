"""A sweep in words: the table of its points, and a sentence for each crossing."""

from __future__ import annotations

from collections.abc import Sequence

from ppdsim.simulation.replicates import basis
from ppdsim.sweep.answer import Estimate, SweepAnswer, SweepCrossing, SweepDifference, SweepPoint
from ppdsim.sweep.measures import MEASURES, Measure

SHOWN = ("ttft_p99_s", "tpot_mean_s", "itl_max_p99_s", "e2e_mean_s", "goodput_per_s", "attainment")
"""Measures that the table lists beside the one that is judged by."""

LEAST_SHARE = 0.005
"""Share of draws below which nothing is said of them; it would print as 0 %."""


def table(answer: SweepAnswer) -> str:
    """Return the points as text: the judged measure with its interval, its paired difference, and other measures."""
    by = MEASURES[answer.judged_by]
    others = [MEASURES[name] for name in SHOWN if name != answer.judged_by]
    names = short_names(answer)
    heads = [
        *names,
        f"{by.title} [{by.unit}]",
        "90 % interval",
        f"less that of {names[0]}={answer.axes[0].values[0]}",
        *(f"{each.title} [{each.unit}]" for each in others),
        "",
    ]
    lines = [
        [
            *point.values,
            *_judged(point.estimate(by.column), by),
            *(number(point.estimate(each.column).value, each) for each in others),
            state(point),
        ]
        for point in answer.points
    ]
    return "\n".join(
        [
            *_aligned([heads, *lines], left=len(answer.axes)),
            basis_of(answer),
            *([f"{answer.missing} rows have not been run"] if answer.missing else []),
            *(f"note: {note}" for note in answer.notes),
        ]
    )


def basis_of(answer: SweepAnswer) -> str:
    """Return what values and intervals rest on."""
    if not answer.parts:
        return (
            f"means over {_count(len(answer.seeds), 'seed')} that all points share; intervals (90 %) are over seeds, "
            "differences are paired"
        )
    if all(point.runs == 1 for point in answer.points):
        over = basis(parts=answer.parts, seeds=1)
        return f"one run per point; intervals (90 %) are over {over}; differences are paired"
    return (
        f"means over {_count(len(answer.seeds), 'seed')}; a point that no seed changes was run once, and its "
        f"interval (90 %) is over {answer.parts} parts of that run; differences are paired"
    )


def crossings(answer: SweepAnswer) -> list[str]:
    """Return a sentence for each crossing by the measure that is judged by, and what to beware of."""
    found = [each for each in answer.crossings if each.measure == answer.judged_by]
    beware = "the values of an OVERLOADED run depend on how long the run is"
    return [*map(sentence, found), *([beware] if any(each.overloaded for each in found) else [])]


def sentence(found: SweepCrossing) -> str:
    """Return a crossing in words."""
    by = MEASURES[found.measure].title
    fixed = "".join(f" at {key}={value}" for key, value in found.fixed)
    asked = f"{found.between} {found.first} against {found.second} over {found.key}{fixed}, by {by}: "
    overloaded = ", ".join(f"{place:g}" for place in found.overloaded)
    return asked + _answer(found) + _doubt(found) + (f" (OVERLOADED at {overloaded})" if overloaded else "")


def _answer(found: SweepCrossing) -> str:
    """Return which of the two is better where."""
    if not found.values:
        return f"{found.better_below or 'no difference'} from {found.low:g} to {found.high:g}"
    *others, last = (f"{value:.4g}" for value in found.values)
    if found.interval is not None:
        last += f" ({found.interval.low:.4g} to {found.interval.high:.4g})"
    above = f"{found.better_above or 'neither'} above"
    if others:
        return f"changes at {', '.join(others)} and {last}; {above}"
    return f"{found.better_below or 'neither'} below {last}, {above}"


def _doubt(found: SweepCrossing) -> str:
    """Return how many draws (over seeds, or parts of a run) disagree about whether there is a change at all."""
    if found.share_without is None:
        return ""
    against, what = (found.share_without, "no change") if found.values else (1.0 - found.share_without, "a change")
    return f"; {against:.0%} of the draws show {what}" if against >= LEAST_SHARE else ""


def short_names(answer: SweepAnswer) -> list[str]:
    """Return the last parts of the grid's keys that tell them apart: ``policy`` for ``routing.policy``."""
    keys = [axis.key.split(".") for axis in answer.axes]
    for parts in range(1, max(map(len, keys))):
        names = [".".join(key[-parts:]) for key in keys]
        if len(set(names)) == len(names):
            return names
    return [axis.key for axis in answer.axes]


def number(value: float | None, measure: Measure) -> str:
    """Print a measure in its unit to three figures.

    >>> number(0.01234, MEASURES["ttft_mean_s"]), number(None, MEASURES["j_s"]), number(0.9876, MEASURES["attainment"])
    ('12.3', '-', '98.8')
    """
    if value is None:
        return "-"
    shown = value * measure.scale
    return f"{shown:,.0f}" if abs(shown) >= 1000 else f"{shown:.3g}"


def span(found: Estimate | SweepDifference, measure: Measure) -> str:
    """Print the ends of an interval; a dash where there is none."""
    if found.low is None or found.high is None:
        return "-"
    return f"{number(found.low, measure)} to {number(found.high, measure)}"


def difference(found: SweepDifference | None, measure: Measure) -> str:
    """Print a difference with its sign and its interval."""
    if found is None:
        return "-"
    told = f"{'+' if found.value > 0 else ''}{number(found.value, measure)}"
    return told if found.low is None else f"{told} ({span(found, measure)})"


def state(point: SweepPoint) -> str:
    """Return what is to be known about a point's runs, or an empty text."""
    parts = []
    if point.overloaded:
        parts.append("OVERLOADED" + ("" if point.overloaded == point.runs else f" in {point.overloaded}"))
    if point.ended < 1.0:
        parts.append(f"{point.ended:.1%} of the turns ended")
    if point.extrapolated:
        parts.append(f"{point.extrapolated:.1%} extrapolated")
    return ", ".join(parts)


def _judged(found: Estimate, by: Measure) -> list[str]:
    return [number(found.value, by), span(found, by), difference(found.difference, by)]


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("s" if count != 1 else "")


def _aligned(rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """Return rows of cells as lines; the first `left` columns and the last start at their left end."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.ljust(width) if i < left or i == last else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
