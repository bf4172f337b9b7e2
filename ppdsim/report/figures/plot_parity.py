"""Predicted against measured cells, one colour a kind, on equal logarithmic axes with the line of no error."""

from __future__ import annotations

import plotly.graph_objects as go

from ppdsim.accuracy import CellErrors, Validation
from ppdsim.report.figures._style import APPEND_COLOUR, HANDOFF_COLOURS, MUTED, empty, finish, log_ticks
from ppdsim.report.figures._views import choice
from ppdsim.units import MS_PER_S

TITLE = "Predicted against measured cells"
CAPTION = (
    "Each dot is a cell that the prediction had not seen: left out of a refit, held out, or of another run. Bars: the "
    "stated 90 % interval, within the run for its own cells, drift included for another run. On the line: no error."
)
X_TITLE, Y_TITLE = "measured [ms]", "predicted [ms]"


def parity_data(found: Validation, view: int = 0) -> list[CellErrors]:
    """Return the kinds of a view: `view` counts the (run, scope) pairs of `views_of_cells`."""
    shown = views_of_cells(found)
    return [row for row in found.cells if shown and (row.measurements, row.scope) == shown[view]]


def views_of_cells(found: Validation) -> list[tuple[str, str]]:
    """Return every (run, scope) that has cells."""
    return list(dict.fromkeys((row.measurements, row.scope) for row in found.cells))


def plot_parity(found: Validation, *, cells_of: int = 0) -> go.Figure:
    """Draw the cells of one run and scope; `cells_of` counts them."""
    rows = parity_data(found, cells_of)
    if not rows:
        return empty(TITLE, CAPTION, "nothing was compared", x_title=X_TITLE, y_title=Y_TITLE)
    fig = go.Figure()
    ends = [f(p.measured_s for row in rows for p in row.points) * MS_PER_S for f in (min, max)]
    fig.add_scatter(x=ends, y=ends, mode="lines", line={"color": MUTED, "width": 1}, name="no error", hoverinfo="skip")
    for row, colour in zip(rows, (APPEND_COLOUR, *HANDOFF_COLOURS), strict=False):
        points = row.points
        fig.add_scatter(
            x=[p.measured_s * MS_PER_S for p in points],
            y=[p.predicted_s * MS_PER_S for p in points],
            error_y={
                "array": [(p.high_s - p.predicted_s) * MS_PER_S for p in points],
                "arrayminus": [(p.predicted_s - p.low_s) * MS_PER_S for p in points],
                "thickness": 0.7,
                "width": 0,
            },
            text=[
                f"L = {p.cached_tokens:g}, m = {p.new_tokens:g}, B = {p.batch:g}, context {p.context_tokens:g}<br>"
                f"{100 * p.error:+.1f} %"
                for p in points
            ],
            hovertemplate="%{text}<br>%{x:.4s} -> %{y:.4s} ms<extra></extra>",
            mode="markers",
            marker={"color": colour, "size": 6},
            name=row.kind,
        )
    fig.update_xaxes(**log_ticks(), title_text=X_TITLE)
    fig.update_yaxes(**log_ticks(), title_text=Y_TITLE)
    options = [(i, f"{run}, {scope}") for i, (run, scope) in enumerate(views_of_cells(found))]
    meta = {"choices": [choice("cells_of", "cells of", options, cells_of)]}
    return finish(fig, TITLE, CAPTION, height=560, meta=meta)
