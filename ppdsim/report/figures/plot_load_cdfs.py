"""Distributions of a load, measured and simulated, laid over each other; one panel a class of turns."""

from __future__ import annotations

import plotly.graph_objects as go

from ppdsim.accuracy import Validation
from ppdsim.report.figures._loads import NO_LOAD, QUANTITY_NAMES, load_choices, rows_of
from ppdsim.report.figures._series import ms
from ppdsim.report.figures._style import (
    APPEND_COLOUR,
    HANDOFF_COLOURS,
    PANEL_PX,
    anchor,
    axis_name,
    empty,
    finish,
    log_ticks,
    panel_text,
    side_by_side,
)

TITLE = "Loads: distributions, measured and simulated"
CAPTION = (
    "The recorded conversations through the simulator. KS: the largest vertical distance between the two curves. "
    "Anchored: with the launch floor that probes beside the load show. Dashed: by a profile that was derived."
)
Y_TITLE = "share of turns [1]"


def plot_load_cdfs(found: Validation, *, load: int = 0, load_quantity: str = "ttft") -> go.Figure:
    """Draw the cumulative distributions of one load and quantity; `load` counts the loads."""
    rows = rows_of(found, load, load_quantity) if found.loads else []
    if not rows:
        return empty(TITLE, CAPTION, NO_LOAD, x_title="time [ms]", y_title=Y_TITLE)
    fig = go.Figure()
    side_by_side(fig, len(rows))
    for i, row in enumerate(rows):
        shares = [step / (len(row.measured_s) - 1) for step in range(len(row.measured_s))]
        for name, values, colour, dash in (
            ("measured", row.measured_s, APPEND_COLOUR, "solid"),
            ("simulated", row.predicted_s, HANDOFF_COLOURS[0], "solid" if found.derivation is None else "dash"),
        ):
            fig.add_scatter(
                x=ms(values),
                y=shares,
                mode="lines",
                line={"color": colour, "width": 2, "dash": dash},
                name=name,
                legendgroup=name,
                showlegend=i == 0,
                xaxis=anchor("x", i),
                yaxis=anchor("y", i),
                hovertemplate=f"{name}: %{{y:.0%}} up to %{{x:.4s}} ms<extra></extra>",
            )
        title = f"{QUANTITY_NAMES[load_quantity]} [ms]"
        fig.update_layout({axis_name("x", i): {**log_ticks(), "title": {"text": title}}})
        fig.update_layout({axis_name("y", i): {"title": {"text": Y_TITLE}, "range": [0, 1]}})
        fig.add_annotation(
            panel_text(i, f"<b>{row.turn_class}</b>, {row.turns} turns, KS {row.ks:.2f}", line=0, name="class")
        )
    meta = {"choices": load_choices(found, load, load_quantity), "panels": len(rows)}
    return finish(fig, TITLE, CAPTION, height=PANEL_PX + 194, meta=meta)
