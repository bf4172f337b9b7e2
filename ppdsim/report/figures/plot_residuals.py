"""Where the error of cells sits: over cached and new tokens, or over batch and context for decode."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean

import plotly.graph_objects as go

from ppdsim.accuracy import CellPoint, Validation
from ppdsim.report.figures._series import Gapped, short_tokens
from ppdsim.report.figures._style import empty, finish
from ppdsim.report.figures._views import choice

TITLE = "Where the error sits"
CAPTION = (
    "Mean relative error of the predictions at each place, in per cent: red is predicted too slow, blue too fast. "
    "Empty places were not measured."
)
WIDEST = 30.0
"""Error at which the colours end [%]; larger ones keep the last colour, their number is printed."""
TOKENS = ("new m [tokens]", "cached L [tokens]")
STREAMS = ("batch B [streams]", "context of a stream [tokens]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualMap:
    """One map: ticks of both axes, their titles, and the error [%] of every place (None: not measured)."""

    x: list[str]
    y: list[str]
    x_title: str
    y_title: str
    error: list[Gapped]


def residuals_data(found: Validation, kind: int = 0) -> ResidualMap:
    """Return the map of one row of the cells table."""
    row = found.cells[kind]
    decode = row.kind == "decode"
    x_title, y_title = STREAMS if decode else TOKENS

    def place(point: CellPoint) -> tuple[float, float]:
        # Streams of one prompt length have generated more in large batches: bins of 256 tokens put them together.
        if decode:
            return point.batch, 256.0 * round(point.context_tokens / 256.0)
        return point.new_tokens, point.cached_tokens

    errors: dict[tuple[float, float], list[float]] = defaultdict(list)
    for point in row.points:
        errors[place(point)].append(100.0 * point.error)
    xs, ys = (sorted({at[i] for at in errors}) for i in (0, 1))
    return ResidualMap(
        x=[short_tokens(round(x)) for x in xs],
        y=[short_tokens(round(y)) for y in ys],
        x_title=x_title,
        y_title=y_title,
        error=[[fmean(errors[x, y]) if (x, y) in errors else None for x in xs] for y in ys],
    )


def plot_residuals(found: Validation, *, kind: int = 0) -> go.Figure:
    """Draw the map of one kind of cells; `kind` counts the rows of the cells table."""
    if not found.cells:
        return empty(TITLE, CAPTION, "nothing was compared", x_title=TOKENS[0], y_title=TOKENS[1])
    data = residuals_data(found, kind)
    fig = go.Figure()
    fig.add_heatmap(
        x=data.x,
        y=data.y,
        z=data.error,
        zmin=-WIDEST,
        zmax=WIDEST,
        colorscale="RdBu_r",
        texttemplate="%{z:.0f}",
        hovertemplate=f"{data.x_title}: %{{x}}<br>{data.y_title}: %{{y}}<br>%{{z:+.1f}} %<extra></extra>",
        hoverongaps=False,
        colorbar={"title": {"text": "error [%]", "side": "right"}},
    )
    fig.update_xaxes(type="category", title_text=data.x_title)
    fig.update_yaxes(type="category", title_text=data.y_title)
    options = [(i, f"{row.kind}, {row.scope}, {row.measurements}") for i, row in enumerate(found.cells)]
    meta = {"choices": [choice("kind", "kind", options, kind)]}
    return finish(fig, TITLE, CAPTION, height=460, meta=meta)
