"""A measure of a sweep over two keys as a map: of one place of the other keys, or the difference between two."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import plotly.graph_objects as go

from ppdsim.report.figures._series import Gapped
from ppdsim.report.figures._style import empty, finish
from ppdsim.report.figures._sweep import Place, is_wide, key_title, measure_choice, place_text, places, points_by_place
from ppdsim.report.figures._views import choice
from ppdsim.sweep.answer import SweepAnswer, SweepAxis
from ppdsim.sweep.measures import MEASURES, Measure
from ppdsim.sweep.words import number, state

TITLE = "The sweep over two keys"
CAPTION = (
    "Means over seeds. A difference is the second less the first, of the same seeds: blue where the second is better, "
    "orange where the first is. Starred: a run there was OVERLOADED, so the value depends on how long the run is."
)
BETTER, EVEN, WORSE = "#0b5e94", "#f7f7f5", "#b3480a"
"""Ends and middle of the scale of a difference; that of one place goes from the middle to one end."""
LOG_TICKS = tuple(mantissa * 10.0**exponent for exponent in range(-3, 7) for mantissa in (1, 3))
"""Ticks of a logarithmic scale, in the measure's unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepMap:
    """The cells: [row of the y key][column of the x key], in the measure's unit; gaps where nothing has run."""

    x: list[str]
    y: list[str]
    value: list[Gapped]
    text: list[list[str]]
    hover: list[list[str]]


def sweep_map_data(
    answer: SweepAnswer, x: SweepAxis, y: SweepAxis, shown: tuple[Place, ...], measure: Measure
) -> SweepMap:
    """Return the map of one place of the other keys, or of two: the second less the first."""
    known = points_by_place(answer)

    def cell(row: str, column: str) -> tuple[float | None, str, str]:
        here = [known.get(frozenset({*place, (x.key, column), (y.key, row)})) for place in shown]
        values = [None if point is None else point.estimate(measure.column).value for point in here]
        states = [state(point) for point in here if point is not None]
        defined = [value for value in values if value is not None]
        if len(defined) < len(shown):
            return None, "", ""
        found = defined[0] if len(shown) == 1 else defined[1] - defined[0]
        star = "*" if any(point is not None and point.overloaded for point in here) else ""
        facts = "".join(f"<br>{each}" for each in states if each)
        words = f"{x.key} = {column}<br>{y.key} = {row}<br>{number(found, measure)} {measure.unit}{facts}"
        return found * measure.scale, number(found, measure) + star, words

    cells = [[cell(row, column) for column in x.values] for row in y.values]
    return SweepMap(
        x=list(x.values),
        y=list(y.values),
        value=[[value for value, _, _ in row] for row in cells],
        text=[[text for _, text, _ in row] for row in cells],
        hover=[[hover for _, _, hover in row] for row in cells],
    )


def plot_sweep_map(answer: SweepAnswer, *, sweep_measure: str | None = None, sweep_shown: int = 0) -> go.Figure:
    """Draw a measure over two keys, numeric ones where there are two.

    Parameters
    ----------
    sweep_measure
        Column to draw; by default the one that the sweep is judged by.
    sweep_shown
        Number of the place of the other keys; after these come differences between two that part in one key.
    """
    drawn, measures = measure_choice(answer, sweep_measure)
    measure = MEASURES[drawn]
    if len(answer.axes) < 2:
        return empty(TITLE, CAPTION, "the grid has one key", x_title="key [value]", y_title="key [value]")
    # Stable: numeric keys first, otherwise in the order of the grid.
    x, y, *others = sorted(answer.axes, key=lambda axis: axis.numbers is None)
    one = places(others)
    pairs = [pair for pair in itertools.combinations(one, 2) if len(set(pair[0]) ^ set(pair[1])) == 2]
    options: list[tuple[Place, ...]] = [*((place,) for place in one), *pairs]
    shown = options[min(sweep_shown, len(options) - 1)]
    data = sweep_map_data(answer, x, y, shown, measure)
    colour, looks = _colours(data, measure, difference=len(shown) == 2)
    fig = go.Figure()
    fig.add_heatmap(
        x=data.x,
        y=data.y,
        z=colour,
        text=data.text,
        texttemplate="%{text}",
        customdata=data.hover,
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        **looks,
    )
    fig.update_xaxes(title_text=key_title(x), type="category")
    fig.update_yaxes(title_text=key_title(y), type="category", automargin=True)
    choices = [measures]
    if len(options) > 1:
        texts = [" less ".join(place_text(place) for place in reversed(option)) for option in options]
        choices.append(choice("sweep_shown", "of", list(enumerate(texts)), sweep_shown))
    finish(fig, TITLE, CAPTION, height=max(260, 150 + 40 * len(data.y)), meta={"choices": choices})
    return fig.update_layout(margin={"t": 12, "b": 56})


def _colours(data: SweepMap, measure: Measure, *, difference: bool) -> tuple[list[Gapped], dict[str, object]]:
    """Return what decides each cell's colour, and the scale; logarithmic where the values are far apart."""
    known = [value for row in data.value for value in row if value is not None] or [0.0]
    low, high = (WORSE, BETTER) if measure.higher_is_better else (BETTER, WORSE)
    bar: dict[str, object] = {
        "title": {"text": f"[{measure.unit}]", "side": "right"},
        "thickness": 12,
        "outlinewidth": 0,
    }
    if difference:
        largest = max(map(abs, known)) or 1.0
        scale = [[0.0, low], [0.5, EVEN], [1.0, high]]
        return data.value, {"zmin": -largest, "zmax": largest, "colorscale": scale, "colorbar": bar}
    scale = [[0.0, EVEN], [1.0, high]]
    if not is_wide(known):
        return data.value, {"zmin": min(known), "zmax": max(known), "colorscale": scale, "colorbar": bar}
    ends = math.log10(min(known)), math.log10(max(known))
    ticks = [value for value in LOG_TICKS if ends[0] <= math.log10(value) <= ends[1]]
    bar.update(tickvals=[math.log10(value) for value in ticks], ticktext=[f"{value:,g}" for value in ticks])
    colour: list[Gapped] = [[None if value is None else math.log10(value) for value in row] for row in data.value]
    return colour, {"zmin": ends[0], "zmax": ends[1], "colorscale": scale, "colorbar": bar}
