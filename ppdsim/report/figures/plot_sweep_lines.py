"""A measure of a sweep over one numeric key: a line for each place of the keys of words, with intervals over seeds."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from ppdsim.report.figures._series import Gapped, dashed, polygon, solid
from ppdsim.report.figures._style import BAND_OPACITY, DASHED, INK, MOSTLY, empty, finish, log_ticks, tint
from ppdsim.report.figures._sweep import (
    COLOURS,
    Place,
    is_wide,
    key_title,
    measure_choice,
    place_text,
    places,
    points_by_place,
)
from ppdsim.report.figures._views import choice
from ppdsim.sweep.answer import SweepAnswer, SweepAxis, SweepCrossing
from ppdsim.sweep.measures import MEASURES, Measure
from ppdsim.sweep.words import number, sentence, span, state

TITLE = "The sweep, line by line"
CAPTION = (
    "Means over seeds, with the 90 % interval of each mean (Student's t). Hollow points: a run there was OVERLOADED, "
    "so the value depends on how long the run is. Dashed: most turns lie outside what was measured. Upright line: "
    "where the better of two lines changes, with its 90 % interval from paired runs, which may be much narrower than "
    "the bands."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepLine:
    """One line: values and ends of intervals in the measure's unit, gaps where nothing is known.

    `extrapolated`: most turns of the point lie outside what its profile was measured on.
    """

    name: str
    x: list[float]
    value: Gapped
    low: Gapped
    high: Gapped
    overloaded: list[bool]
    extrapolated: list[bool]
    hover: list[str]


def sweep_lines_data(answer: SweepAnswer, along: SweepAxis, fixed: Place, measure: str) -> list[SweepLine]:
    """Return a line for each place of the keys of words, over the numeric key `along`, with the other keys fixed."""
    words = [axis for axis in answer.axes if axis.numbers is None]
    return [
        _line(answer, along, (*fixed, *place), place_text(place) or MEASURES[measure].title, MEASURES[measure])
        for place in places(words)
    ]


def plot_sweep_lines(
    answer: SweepAnswer, *, sweep_measure: str | None = None, sweep_view: int | None = None
) -> go.Figure:
    """Draw a measure over a numeric key.

    Parameters
    ----------
    sweep_measure
        Column to draw; by default the one that the sweep is judged by.
    sweep_view
        Number of the numeric key on the x axis together with a place of the other numeric keys; by default the key
        with most values, the others at their first.
    """
    drawn, measures = measure_choice(answer, sweep_measure)
    measure = MEASURES[drawn]
    y_title = f"{measure.title} [{measure.unit}]"
    numeric = [axis for axis in answer.axes if axis.numbers is not None]
    if not numeric:
        why = "no key of the grid has numbers only"
        return empty(TITLE, CAPTION, why, x_title="key [value]", y_title=y_title)
    views = [(axis, place) for axis in numeric for place in places([other for other in numeric if other is not axis])]
    most = max(range(len(views)), key=lambda i: (len(views[i][0].values), -i))
    view = most if sweep_view is None else sweep_view
    along, fixed = views[view]
    fig = go.Figure()
    lines = sweep_lines_data(answer, along, fixed, drawn)
    values = [value for line in lines for value in line.value if value is not None]
    wide = is_wide(values)
    for i, line in enumerate(lines):
        # An interval may reach below zero, which a logarithmic axis has no place for.
        _draw(fig, line, COLOURS[i % len(COLOURS)], floor=min(values) / 2.0 if wide else None)
    for crossing in answer.crossings:
        if (crossing.key, crossing.measure) == (along.key, drawn) and set(fixed) <= set(crossing.fixed):
            _mark(fig, crossing)
    fig.update_xaxes(title_text=key_title(along))
    fig.update_yaxes(**(log_ticks() if wide else {"rangemode": "tozero"}), title_text=y_title)
    choices = [measures]
    if len(views) > 1:
        texts = [" at ".join([axis.key, *([place_text(place)] if place else [])]) for axis, place in views]
        choices.append(choice("sweep_view", "over", list(enumerate(texts)), view))
    return finish(fig, TITLE, CAPTION, height=440, meta={"choices": choices})


def _line(answer: SweepAnswer, along: SweepAxis, place: Place, name: str, measure: Measure) -> SweepLine:
    known = points_by_place(answer)
    pairs = sorted(zip(along.numbers or (), along.values, strict=True))
    points = [known.get(frozenset({*place, (along.key, text)})) for _, text in pairs]
    estimates = [None if point is None else point.estimate(measure.column) for point in points]

    def scaled(value: float | None) -> float | None:
        return None if value is None else value * measure.scale

    return SweepLine(
        name=name,
        x=[x for x, _ in pairs],
        value=[None if e is None else scaled(e.value) for e in estimates],
        low=[None if e is None else scaled(e.low) for e in estimates],
        high=[None if e is None else scaled(e.high) for e in estimates],
        overloaded=[point is not None and point.overloaded > 0 for point in points],
        extrapolated=[point is not None and (point.extrapolated or 0.0) >= MOSTLY for point in points],
        hover=[
            ""
            if p is None or e is None
            else f"{name}, {along.key} = {text}<br>{measure.title} {number(e.value, measure)} {measure.unit} "
            f"(90 % interval: {span(e, measure)})<br>{state(p)}"
            for p, e, (_, text) in zip(points, estimates, pairs, strict=True)
        ],
    )


def _draw(fig: go.Figure, line: SweepLine, colour: str, *, floor: float | None) -> None:
    low = [end if end is None or floor is None else max(end, floor) for end in line.low]
    corners = polygon(low, line.high)
    ends = (low, line.high)
    fig.add_scatter(
        x=[line.x[i] for i, _ in corners],
        y=[ends[end][i] for i, end in corners],
        fill="toself",
        fillcolor=tint(colour, BAND_OPACITY),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        name=f"interval of {line.name}",
    )
    stroke = {"color": colour, "width": 2}
    common = {
        "x": line.x,
        "mode": "lines+markers",
        "marker": {
            "size": 8,
            "color": ["#ffffff" if over else colour for over in line.overloaded],
            "line": stroke,
        },
        "text": line.hover,
        "hovertemplate": "%{text}<extra></extra>",
        "legendgroup": line.name,
    }
    whole = solid(line.value, line.extrapolated)
    # The legend shows a piece that is drawn.
    shown = any(y is not None for y in whole) or not any(line.extrapolated)
    fig.add_scatter(**common, y=whole, line=stroke, name=line.name, showlegend=shown)
    if any(line.extrapolated):
        broken = {**stroke, "dash": "dash"}
        y = dashed(line.value, line.extrapolated)
        fig.add_scatter(**common, y=y, line=broken, name=DASHED if shown else line.name, showlegend=not shown)


def _mark(fig: go.Figure, found: SweepCrossing) -> None:
    """Add the last change of the better one: a band, a line, and its sentence on hovering."""
    if not found.values:
        return
    place = {"xref": "x", "yref": "y domain", "y0": 0, "y1": 1, "layer": "below"}
    if found.interval is not None:
        ends = {"x0": found.interval.low, "x1": found.interval.high}
        fig.add_shape(type="rect", fillcolor=tint(INK, 0.09), line={"width": 0}, **ends, **place)
    last = found.values[-1]
    fig.add_shape(type="line", x0=last, x1=last, line={"color": INK, "width": 1.5}, **place)
    fig.add_annotation(
        x=last,
        y=1,
        yref="y domain",
        yanchor="top",
        xanchor="left",
        xshift=4,
        showarrow=False,
        text=f"{found.first} / {found.second}",
        hovertext=sentence(found),
        font={"size": 12, "color": INK},
    )
