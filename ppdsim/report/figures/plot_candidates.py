"""The error of cells against whatever may explain it: where a missing term would show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import plotly.graph_objects as go

from ppdsim.accuracy import Validation
from ppdsim.metrics import median
from ppdsim.report.figures._style import APPEND_COLOUR, HANDOFF_COLOURS, MUTED, empty, finish, log_ticks, panel_text
from ppdsim.report.figures._views import choice

TITLE = "Errors against candidates for what is missing"
CAPTION = (
    "Signed error of each cell over a column that a missing mechanism would show in, with the median at each value (or "
    "of eighths). An error that follows a column points at a term; columns that rise together cannot be told apart."
)
Y_TITLE = "error: predicted over measured, less 1 [%]"
MOST_VALUES = 12
"""Distinct values up to which each has a median of its own."""
PIECES = 8
WIDE = 20.0
"""Largest over smallest value from which the axis is logarithmic [1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidatePlot:
    """Dots and the line of medians; errors in per cent."""

    x: list[float]
    error: list[float]
    text: list[str]
    line_x: list[float]
    line: list[float]
    words: str


def candidates_of(found: Validation) -> dict[str, str]:
    """Return the candidates of any kind: their names with units."""
    return {column.name: column.unit for row in found.cells for column in row.candidates}


def candidates_data(found: Validation, kind: int, candidate: str) -> CandidatePlot | None:
    """Return one kind's errors over one column; None where the column is the same in all its cells."""
    row = found.cells[kind]
    column = next((each for each in row.candidates if each.name == candidate), None)
    if column is None:
        return None
    pairs = [(x, point) for x, point in zip(column.values, row.points, strict=True) if math.isfinite(x)]
    pairs.sort(key=lambda pair: pair[0])
    xs, errors = [x for x, _ in pairs], [100.0 * point.error for _, point in pairs]
    distinct = sorted(set(xs))
    if len(distinct) <= MOST_VALUES:
        groups = [[i for i, x in enumerate(xs) if x == value] for value in distinct]
    else:
        edges = [round(i * len(xs) / PIECES) for i in range(PIECES + 1)]
        groups = [list(range(low, high)) for low, high in pairwise(edges) if high > low]
    rank = "too few cells for a correlation"
    if column.rank_correlation is not None and column.chance is not None:
        rank = f"rank correlation {column.rank_correlation:+.2f}, by chance {column.chance:.1%}"
    return CandidatePlot(
        x=xs,
        error=errors,
        text=[
            f"L = {p.cached_tokens:g}, m = {p.new_tokens:g}, B = {p.batch:g}, context {p.context_tokens:g}"
            for _, p in pairs
        ],
        line_x=[median([xs[i] for i in group]) for group in groups],
        line=[median([errors[i] for i in group]) for group in groups],
        words=rank,
    )


def plot_candidates(found: Validation, *, kind: int = 0, candidate: str | None = None) -> go.Figure:
    """Draw the errors of one row of the cells table over one column.

    Parameters
    ----------
    kind
        Counts the rows of the cells table.
    candidate
        Name of the column; by default the first one that any kind has.
    """
    units = candidates_of(found)
    if not units:
        return empty(TITLE, CAPTION, "nothing was compared", x_title="candidate [1]", y_title=Y_TITLE)
    name = next(iter(units)) if candidate is None else candidate
    x_title = f"{name} [{units[name]}]"
    kinds = [(i, f"{row.kind}, {row.scope}, {row.measurements}") for i, row in enumerate(found.cells)]
    meta = {
        "choices": [
            choice("kind", "kind", kinds, kind),
            choice("candidate", "over", [(each, each) for each in units], name),
        ]
    }
    data = candidates_data(found, kind, name)
    if data is None:
        blank = empty(TITLE, CAPTION, "the same in every cell of this kind", x_title=x_title, y_title=Y_TITLE)
        return finish(blank, TITLE, CAPTION, height=420, meta=meta)
    fig = go.Figure()
    ends = [data.x[0], data.x[-1]]
    fig.add_scatter(
        x=ends, y=[0, 0], mode="lines", line={"color": MUTED, "width": 1}, name="no error", hoverinfo="skip"
    )
    fig.add_scatter(
        x=data.x,
        y=data.error,
        text=data.text,
        mode="markers",
        marker={"color": APPEND_COLOUR, "size": 6, "opacity": 0.6},
        name="cell",
        hovertemplate="%{text}<br>" + name + " = %{x:.4s}: %{y:+.1f} %<extra></extra>",
    )
    fig.add_scatter(
        x=data.line_x,
        y=data.line,
        mode="lines+markers",
        line={"color": HANDOFF_COLOURS[0], "width": 2},
        name="median",
        hovertemplate="median at %{x:.4s}: %{y:+.1f} %<extra></extra>",
    )
    wide = data.x[0] > 0.0 and data.x[-1] > WIDE * data.x[0]
    fig.update_xaxes(**(log_ticks() if wide else {}), title_text=x_title)
    fig.update_yaxes(title_text=Y_TITLE)
    fig.add_annotation(panel_text(0, data.words, line=0, name="correlation"))
    return finish(fig, TITLE, CAPTION, height=420, meta=meta)
