"""N* over cached and new tokens: below how many streams on D the append is the cheaper arm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import plotly.graph_objects as go

from ppdsim.answers import BreakevenMap, CrossoverAnswer
from ppdsim.report import wording
from ppdsim.report.figures._series import Gapped, short_tokens
from ppdsim.report.figures._style import INK, empty, finish, lighten
from ppdsim.report.figures._views import choice, previous_choice

TITLE = "Below how many streams on D an append is the cheaper arm"
X_TITLE = "new tokens m [tokens]"
Y_TITLE = "cached tokens L [tokens]"
SPAN = 20.0
"""The colours reach from the scenario's N divided by this to N times this."""
SCALE = (
    (0.0, "#b3480a"),
    (0.25, "#f0a868"),
    (0.47, "#f8e3cd"),
    (0.5, "#f7f7f5"),
    (0.53, "#d6e7f3"),
    (0.75, "#7fb6da"),
    (1.0, "#0b5e94"),
)
"""From P wins (orange) over even (white) to D wins (the append's blue)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapData:
    """The cells that are drawn: [row of cached][column of new]. `colour` is log10 N*, held inside the scale."""

    cached: list[str]
    new: list[str]
    colour: list[Gapped]
    text: list[list[str]]
    hover: list[list[str]]
    extrapolated: list[list[bool]]

    def cells(self, *, measured: bool) -> tuple[list[Gapped], list[list[str]]]:
        """Return colours and texts of the measured cells, or of the others; gaps elsewhere."""
        places = [[(i, j) for j in range(len(self.new))] for i in range(len(self.cached))]
        drawn = [[self.extrapolated[i][j] is not measured for i, j in row] for row in places]
        colour = [[self.colour[i][j] if drawn[i][j] else None for i, j in row] for row in places]
        text = [[self.text[i][j] if drawn[i][j] else "" for i, j in row] for row in places]
        return colour, text


def breakeven_map_data(answer: CrossoverAnswer, drawn: BreakevenMap) -> MapData:
    """Return a map's cells with their words; an extrapolated N* stands in brackets."""
    low, high = _ends(answer)

    def colour(value: float) -> float | None:
        return None if math.isnan(value) else math.log10(min(max(value, low), high))

    def text(value: float, outside: bool) -> str:
        short = "any" if math.isinf(value) else wording.streams(value)
        return f"({short})" if outside else short

    def hover(row: int, column: int) -> str:
        here, low, high = (m[row][column] for m in (drawn.n_star, drawn.n_star_low, drawn.n_star_high))
        another = f"on another host {wording.spread(low, high)}"
        tokens = f"{drawn.new_tokens[column]:,} new tokens on {drawn.cached_tokens[row]:,} cached ones"
        known = "extrapolated or unmeasured" if drawn.extrapolated[row][column] else "inside the measured range"
        pays = f"D is cheaper while fewer than N* = {wording.streams(here)}"
        return f"{tokens}<br>{pays}<br>streams decode on D, {another} ({known})"

    rows, columns = range(len(drawn.cached_tokens)), range(len(drawn.new_tokens))
    return MapData(
        cached=[short_tokens(t) for t in drawn.cached_tokens],
        new=[short_tokens(t) for t in drawn.new_tokens],
        colour=[[colour(value) for value in row] for row in drawn.n_star],
        text=[[text(drawn.n_star[i][j], drawn.extrapolated[i][j]) for j in columns] for i in rows],
        hover=[[hover(i, j) for j in columns] for i in rows],
        extrapolated=[list(row) for row in drawn.extrapolated],
    )


def plot_breakeven_map(
    answer: CrossoverAnswer, *, against: str | None = None, previous_output_tokens: int | None = None
) -> go.Figure:
    """Draw the map of N* against one P arm.

    Parameters
    ----------
    against
        Label of the P arm; by default the answer's first.
    previous_output_tokens
        The previous answer o; by default the answer's first.
    """
    caption = (
        f"N* at gamma = {answer.gamma:g}; at another price it is N*/gamma streams, almost exactly. White is the "
        f"scenario's N = {answer.residents}: in blue cells the append on D is cheaper there, in orange ones the "
        "hand-off. Pale cells in brackets are extrapolated or unmeasured."
    )
    if not answer.maps:
        return empty(TITLE, caption, "the answer holds no map", x_title=X_TITLE, y_title=Y_TITLE)
    label = answer.maps[0].against.label if against is None else against
    previous = answer.maps[0].previous_output_tokens if previous_output_tokens is None else previous_output_tokens
    drawn = next(m for m in answer.maps if (m.against.label, m.previous_output_tokens) == (label, previous))
    data = breakeven_map_data(answer, drawn)
    low, high = _ends(answer)
    ticks = [low, *(t for t in (0.1, 0.3, 1, 3, 10, 30, 100, 300) if 2 * low < t < high / 2), high]
    colorbar = {
        "title": {"text": "N* [streams]", "side": "right"},
        "thickness": 12,
        "outlinewidth": 0,
        "tickvals": [math.log10(t) for t in ticks],
        "ticktext": [wording.streams(t) for t in ticks],
    }
    fig = go.Figure()
    for measured in (True, False):
        colour, text = data.cells(measured=measured)
        fig.add_heatmap(
            name="measured range" if measured else "extrapolated or unmeasured",
            x=data.new,
            y=data.cached,
            z=colour,
            text=text,
            texttemplate="%{text}",
            textfont={"size": 11.5},
            customdata=data.hover,
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
            zmin=math.log10(low),
            zmax=math.log10(high),
            colorscale=[[place, hue if measured else lighten(hue, 0.6)] for place, hue in SCALE],
            showscale=measured,
            colorbar=colorbar,
            xgap=1,
            ygap=1,
        )
    for edge in _edges(data.extrapolated):
        fig.add_shape(type="line", line={"color": INK, "width": 1.2, "dash": "dash"}, **edge)
    fig.update_xaxes(title_text=X_TITLE, type="category")
    fig.update_yaxes(title_text=Y_TITLE, type="category")
    labels = list(dict.fromkeys(m.against.label for m in answer.maps))
    choices = [
        choice("against", "against", [(name, name) for name in labels], label),
        previous_choice(sorted({m.previous_output_tokens for m in answer.maps}), previous),
    ]
    finish(fig, TITLE, caption, height=440, meta={"choices": choices})
    return fig.update_layout(margin={"t": 12, "b": 56})


def _ends(answer: CrossoverAnswer) -> tuple[float, float]:
    """Return the N* at the ends of the colour scale [streams]."""
    middle = float(max(answer.residents, 1))
    return middle / SPAN, middle * SPAN


def _edges(outside: list[list[bool]]) -> list[dict[str, float]]:
    """Return the borders between measured and extrapolated cells."""
    found = []
    for i, row in enumerate(outside):
        for j, here in enumerate(row):
            if i + 1 < len(outside) and here != outside[i + 1][j]:
                found.append({"x0": j - 0.5, "x1": j + 0.5, "y0": i + 0.5, "y1": i + 0.5})
            if j + 1 < len(row) and here != row[j + 1]:
                found.append({"x0": j + 0.5, "x1": j + 0.5, "y0": i - 0.5, "y1": i + 0.5})
    return found
