"""The report of a sweep: a :class:`~ppdsim.sweep.answer.SweepAnswer` as one offline HTML file."""

from __future__ import annotations

from pathlib import Path

from ppdsim.files import write_whole
from ppdsim.report.figures import SWEEP_FIGURES
from ppdsim.report.page import drawings, fill
from ppdsim.report.tables import Cell, Table
from ppdsim.sweep.answer import SweepAnswer
from ppdsim.sweep.measures import MEASURES
from ppdsim.sweep.words import number, sentence, short_names, span, state


def write_sweep_report(answer: SweepAnswer, path: Path) -> Path:
    """Write the report of a sweep, as a file that appears whole or not at all, and return its path."""
    return write_whole(path, render_sweep(answer))


def render_sweep(answer: SweepAnswer) -> str:
    """Return the page as HTML."""
    figures = {name: drawings(draw, answer) for name, draw in SWEEP_FIGURES.items()}
    return fill(
        "sweep.html",
        figures,
        answer=answer,
        headline=headline(answer),
        tables={"points": _points(answer), "crossings": _crossings(answer)},
    )


def headline(answer: SweepAnswer) -> str:
    """Return the first line: the first change of the better one by the measure judged by, or else the best point."""
    by = MEASURES[answer.judged_by]
    found = next((each for each in answer.crossings if each.measure == by.column and each.values), None)
    if found is not None:
        return sentence(found)
    known = [(point.estimate(by.column).value, point) for point in answer.points]
    values = [(value, point) for value, point in known if value is not None]
    if not values:
        return f"{answer.scenario}: no run of the sweep has ended"
    value, best = sorted(values, key=lambda each: each[0], reverse=by.higher_is_better)[0]
    where = ", ".join(f"{axis.key}={text}" for axis, text in zip(answer.axes, best.values, strict=True))
    return f"{answer.scenario}: the best {by.title} is {number(value, by)} {by.unit}, at {where}"


def _points(answer: SweepAnswer) -> Table:
    measures = list(MEASURES.values())
    names = short_names(answer)
    first = f"{names[0]}={answer.axes[0].values[0]}"
    return Table(
        caption=f"Means over seeds, below them their 90 % intervals, then what they are beyond {first}, paired",
        columns=(*names, *(f"{each.title} [{each.unit}]" for each in measures), "runs", "beware"),
        rows=tuple(
            (
                *(Cell(text=text) for text in point.values),
                *(
                    Cell(
                        text=number(found.value, each),
                        notes=tuple(
                            note
                            for note in (
                                "" if found.low is None else f"{number(found.low, each)} to {number(found.high, each)}",
                                "" if found.difference is None else span(found.difference, each, sign=True),
                            )
                            if note
                        ),
                    )
                    for each in measures
                    for found in (point.estimate(each.column),)
                ),
                Cell(text=str(point.runs)),
                Cell(text=state(point), css="tagged"),
            )
            for point in answer.points
        ),
    )


def _crossings(answer: SweepAnswer) -> Table:
    return Table(
        caption="Where the better of two changes, by every measure; intervals from paired runs",
        columns=("by", "answer"),
        rows=tuple(
            (Cell(text=MEASURES[each.measure].title), Cell(text=sentence(each), css="words"))
            for each in answer.crossings
        ),
    )
