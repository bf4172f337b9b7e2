"""Distributions of TTFT and TPOT over the turns of all seeds, every alternative laid over the others."""

from __future__ import annotations

import plotly.graph_objects as go

from ppdsim.comparison import SHARES, Comparison
from ppdsim.report.figures._series import Gapped, ms
from ppdsim.report.figures._style import (
    APPEND_COLOUR,
    HANDOFF_COLOURS,
    INK,
    MOSTLY,
    PANEL_PX,
    anchor,
    axis_name,
    empty,
    finish,
    log_ticks,
    panel_text,
    side_by_side,
)

TITLE = "What users of each alternative see"
CAPTION = (
    "Share of the answered turns of all seeds whose time is at most that; turns without an answer are left out. "
    "Dashed: most turns lie outside what the profile was measured on."
)
COLOURS = (APPEND_COLOUR, *HANDOFF_COLOURS, INK)
PANELS = {"TTFT": "time to the first token [ms]", "TPOT": "time per output token [ms]"}
"""The panels, by the name of the distribution, with the titles of their axes."""
Y_TITLE = "share of turns [1]"


def alternative_cdfs_data(found: Comparison) -> dict[str, dict[str, Gapped]]:
    """Return the times [ms] at the shares of `SHARES`, by panel and alternative; left out where nothing finished."""
    return {
        panel: {
            each.name: ms(spread.values_s)
            for each in found.alternatives
            for spread in each.distributions
            if spread.name == panel and spread.values_s
        }
        for panel in PANELS
    }


def plot_alternative_cdfs(found: Comparison) -> go.Figure:
    """Draw one panel a quantity, one line an alternative."""
    data = alternative_cdfs_data(found)
    if not any(data.values()):
        return empty(TITLE, CAPTION, "no turn has an answer", x_title="time [ms]", y_title=Y_TITLE)
    colour_of = {each.name: COLOURS[i % len(COLOURS)] for i, each in enumerate(found.alternatives)}
    outside = {each.name for each in found.alternatives if each.extrapolated >= MOSTLY}
    fig = go.Figure()
    side_by_side(fig, len(PANELS))
    for i, (panel, title) in enumerate(PANELS.items()):
        for name, values in data[panel].items():
            fig.add_scatter(
                x=values,
                y=list(SHARES),
                mode="lines",
                line={"color": colour_of[name], "width": 2, "dash": "dash" if name in outside else "solid"},
                name=name,
                legendgroup=name,
                showlegend=i == 0,
                xaxis=anchor("x", i),
                yaxis=anchor("y", i),
                hovertemplate=f"{name}: %{{y:.1%}} up to %{{x:.4s}} ms<extra></extra>",
            )
        fig.update_layout({axis_name("x", i): {**log_ticks(), "title": {"text": title}}})
        fig.update_layout({axis_name("y", i): {"title": {"text": Y_TITLE}, "range": [0, 1]}})
        fig.add_annotation(panel_text(i, f"<b>{panel}</b>", line=0, name="quantity"))
    return finish(fig, TITLE, CAPTION, height=PANEL_PX + 194, meta={"panels": len(PANELS)})
