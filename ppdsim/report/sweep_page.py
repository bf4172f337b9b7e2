"""The report of a sweep: a :class:`~ppdsim.sweep.answer.SweepAnswer` as one offline HTML file."""

from __future__ import annotations

from ppdsim.report.figures import SWEEP_FIGURES
from ppdsim.report.page import fill
from ppdsim.report.tables import Cell, Table
from ppdsim.sweep.answer import SweepAnswer, SweepAxis
from ppdsim.sweep.measures import MEASURES
from ppdsim.sweep.words import basis_of, difference, number, sentence, short_names, span, state


def render_sweep(answer: SweepAnswer) -> str:
    """Return the page as HTML."""
    return fill(
        "sweep.html",
        SWEEP_FIGURES,
        answer,
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
    places = list(zip(answer.axes, best.values, strict=True))
    where = ", ".join(f"{axis.key}={text}" for axis, text in places)
    ends = [axis.key for axis, text in places if _is_end(axis, text)]
    beyond = f"; that is the end of the values asked of {' and '.join(ends)}" if ends else ""
    which = "largest" if by.higher_is_better else "smallest"
    best_value = f"{number(value, by)} {by.unit}"
    return f"{answer.scenario}: within the values asked, {by.title} is {which} at {where}: {best_value}{beyond}"


def _is_end(axis: SweepAxis, text: str) -> bool:
    """Return whether a value is the first or last of the numbers that were asked of a key."""
    if axis.numbers is None or len(axis.numbers) < 2:
        return False
    return axis.numbers[axis.values.index(text)] in (min(axis.numbers), max(axis.numbers))


def _points(answer: SweepAnswer) -> Table:
    measures = list(MEASURES.values())
    names = short_names(answer)
    first = f"{names[0]}={answer.axes[0].values[0]}"
    return Table(
        caption=f"Below each number its 90 % interval, then what it is beyond {first}; {basis_of(answer)}",
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
                                "" if found.low is None else span(found, each),
                                "" if found.difference is None else difference(found.difference, each),
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
