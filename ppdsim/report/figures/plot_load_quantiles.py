"""Quantiles of a load, simulated against measured: where in the distribution the simulator is off."""

from __future__ import annotations

import plotly.graph_objects as go

from ppdsim.accuracy import Validation
from ppdsim.report.figures._loads import NO_LOAD, QUANTITY_NAMES, load_choices, rows_of
from ppdsim.report.figures._series import ms
from ppdsim.report.figures._style import (
    APPEND_COLOUR,
    MUTED,
    PANEL_PX,
    anchor,
    axis_name,
    empty,
    finish,
    log_ticks,
    panel_text,
    side_by_side,
)
from ppdsim.units import MS_PER_S

TITLE = "Loads: quantiles, simulated against measured"
CAPTION = "One dot a per cent of the turns. On the line: the same time at the same rank, whichever turns those are."


def plot_load_quantiles(found: Validation, *, load: int = 0, load_quantity: str = "ttft") -> go.Figure:
    """Draw the quantiles of one load and quantity; `load` counts the loads."""
    rows = rows_of(found, load, load_quantity) if found.loads else []
    if not rows:
        return empty(TITLE, CAPTION, NO_LOAD, x_title="measured [ms]", y_title="simulated [ms]")
    fig = go.Figure()
    side_by_side(fig, len(rows))
    name = QUANTITY_NAMES[load_quantity]
    for i, row in enumerate(rows):
        both = (*row.measured_s, *row.predicted_s)
        ends = [MS_PER_S * min(both), MS_PER_S * max(both)]
        place = {"xaxis": anchor("x", i), "yaxis": anchor("y", i), "showlegend": i == 0}
        line = {"color": MUTED, "width": 1}
        fig.add_scatter(x=ends, y=ends, mode="lines", line=line, name="no error", hoverinfo="skip", **place)
        fig.add_scatter(
            x=ms(row.measured_s),
            y=ms(row.predicted_s),
            text=[f"{step} %" for step in range(len(row.measured_s))],
            mode="markers",
            marker={"color": APPEND_COLOUR, "size": 5},
            name="quantile",
            hovertemplate="%{text}: %{x:.4s} -> %{y:.4s} ms<extra></extra>",
            **place,
        )
        for letter, title in (("x", f"measured {name} [ms]"), ("y", f"simulated {name} [ms]")):
            fig.update_layout({axis_name(letter, i): {**log_ticks(), "title": {"text": title}}})
        fig.add_annotation(panel_text(i, f"<b>{row.turn_class}</b>, {row.turns} turns", line=0, name="class"))
    meta = {"choices": load_choices(found, load, load_quantity), "panels": len(rows)}
    return finish(fig, TITLE, CAPTION, height=PANEL_PX + 194, meta=meta)
