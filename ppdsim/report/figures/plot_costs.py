"""Cost of the append and of each P arm over the cache rate, and where the cheaper one changes."""

from __future__ import annotations

import plotly.graph_objects as go

from ppdsim.answers import CrossoverAnswer
from ppdsim.report.figures._costs import QUANTITIES, CostLine, CostPanel, DrawnCrossing, costs_data, series
from ppdsim.report.figures._series import Gapped, dashed, polygon, solid
from ppdsim.report.figures._style import (
    APPEND_COLOUR,
    BAND_OPACITY,
    DASHED,
    INK,
    PANEL_PX,
    RATE_TITLE,
    anchor,
    axis_name,
    cache_rate_axis,
    colours,
    empty,
    finish,
    lighten,
    log_ticks,
    panel_text,
    side_by_side,
    tint,
)
from ppdsim.report.figures._views import choice, view_choices, view_of, views_of

__all__ = ["costs_data", "plot_costs"]

TITLE = "Cost of a turn over the cache rate"
CAPTION = (
    "Lines: the formula on this host, idle; bands: the central 90 % on another host of this kind (that of J adds the "
    "bands of TTFT and stall). Thin lines: the formula with the waits of the scenario's traffic. Dots: simulated under "
    "that traffic on this host; upright strokes: the central 90 % on another one. Where an arm is OVERLOADED it has no "
    "J. Thin lines and dots belong to the scenario's own "
    "gamma and N and are hidden elsewhere. Upright: r* of the idle formula with its interval; D is the cheaper arm to "
    "its right. The axis is logarithmic in 1 - r."
)


def plot_costs(
    answer: CrossoverAnswer,
    *,
    total_tokens: int | None = None,
    previous_output_tokens: int | None = None,
    quantity: str = "j",
    gamma: float | None = None,
    residents: int | None = None,
) -> go.Figure:
    """Draw one panel a P arm: it and the append on D over the cache rate, with r*.

    Parameters
    ----------
    total_tokens, previous_output_tokens
        The view; by default the middle prompt length after no answer.
    quantity
        ``j``, ``ttft`` or ``stall``.
    gamma, residents
        The place of the sliders; by default the scenario's own.
    """
    shown = view_of(answer, total_tokens, previous_output_tokens)
    panels = [] if shown is None else costs_data(answer).get(shown, [])
    if shown is None or not panels:
        why = "the answer holds no curves"
        return empty(TITLE, CAPTION, why, x_title=RATE_TITLE, y_title=QUANTITIES[quantity])
    price = answer.gamma if gamma is None else gamma
    streams = answer.residents if residents is None else residents
    own = price == answer.gamma and streams == answer.residents
    colour_of = colours(answer)
    fig = go.Figure()
    side_by_side(fig, len(panels))
    x_axis = cache_rate_axis([u for panel in panels for u in panel.uncached])
    for i, panel in enumerate(panels):
        colour = colour_of[panel.against]
        for line, hue, name in (
            (panel.append, APPEND_COLOUR, "append-d"),
            (panel.handoff, colour, panel.against.label),
        ):
            _draw(fig, i, line, hue, name, quantity=quantity, gamma=price, residents=streams, own=own)
        _mark(fig, i, panel, panel.crossing(price, streams), colour)
        y_axis = {"type": "linear", "rangemode": "tozero"} if quantity == "stall" else log_ticks()
        fig.update_layout(
            {
                axis_name("x", i): x_axis,
                axis_name("y", i): {**y_axis, "title": {"text": QUANTITIES[quantity]}, "matches": "y" if i else None},
            }
        )
    choices = [
        *view_choices(views_of(answer), shown),
        choice("quantity", "show", [("j", "J"), ("ttft", "TTFT"), ("stall", "stall")], quantity),
    ]
    return finish(fig, TITLE, CAPTION, height=PANEL_PX + 194, meta={"choices": choices, "panels": len(panels)})


def _draw(
    fig: go.Figure,
    panel: int,
    line: CostLine,
    colour: str,
    name: str,
    *,
    quantity: str,
    gamma: float,
    residents: int,
    own: bool,
) -> None:
    """Add an arm's seven traces. The page's script fills them in this order again when a control moves."""
    x = line.uncached
    shown = series(line, quantity, gamma, residents)
    corners = polygon(shown.low, shown.high)
    edges = shown.low, shown.high
    loaded, simulated, strokes = _under_load(line, quantity, own=own)
    common = {"xaxis": anchor("x", panel), "yaxis": anchor("y", panel), "name": name, "legendgroup": name}
    first = panel == 0
    fig.add_scatter(
        x=[x[i] for i, _ in corners],
        y=[edges[side][i] for i, side in corners],
        **{**common, "name": f"{name}, 90 % band"},
        fill="toself",
        fillcolor=tint(colour, BAND_OPACITY),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )
    hover = "%{text}<br>" + name + ": %{y:.3s} ms<extra></extra>"
    fig.add_scatter(
        x=x,
        y=solid(shown.value, line.extrapolated),
        text=line.text,
        hovertemplate=hover,
        mode="lines",
        line={"color": colour, "width": 2.5},
        showlegend=first or name != "append-d",
        **common,
    )
    fig.add_scatter(
        x=x,
        y=dashed(shown.value, line.extrapolated),
        text=line.text,
        hovertemplate=hover.replace("ms<", "ms, extrapolated<"),
        mode="lines",
        line={"color": colour, "width": 2.5, "dash": "dash"},
        showlegend=first and name == "append-d",
        **{**common, "name": DASHED, "legendgroup": "dashed"},
    )
    thin = {"color": lighten(colour, 0.35), "width": 1}
    fig.add_scatter(
        x=x,
        y=solid(loaded, line.extrapolated) if loaded else [],
        text=line.text,
        hovertemplate=hover.replace("ms<", "ms, with waits<"),
        mode="lines",
        line=thin,
        showlegend=first and name == "append-d",
        **{**common, "name": "thin: formula with waits", "legendgroup": "waits"},
    )
    fig.add_scatter(
        x=x,
        y=dashed(loaded, line.extrapolated) if loaded else [],
        text=line.text,
        hovertemplate=hover.replace("ms<", "ms, with waits, extrapolated<"),
        mode="lines",
        line={**thin, "dash": "dash"},
        showlegend=False,
        **{**common, "name": DASHED, "legendgroup": "waits"},
    )
    fig.add_scatter(
        x=[place for at in x for place in (at, at, None)] if strokes else [],
        y=strokes,
        mode="lines",
        line={"color": colour, "width": 1},
        hoverinfo="skip",
        showlegend=False,
        **{**common, "name": "simulated, another host", "legendgroup": "simulated"},
    )
    fig.add_scatter(
        x=x if simulated else [],
        y=simulated,
        text=line.text,
        hovertemplate=hover.replace("ms<", "ms, simulated<"),
        mode="markers",
        marker={"color": "#ffffff", "size": 5.5, "line": {"color": colour, "width": 1.5}},
        showlegend=first and name == "append-d" and bool(simulated),
        **{**common, "name": "dots: simulated", "legendgroup": "simulated"},
    )


def _under_load(line: CostLine, quantity: str, *, own: bool) -> tuple[Gapped, Gapped, Gapped]:
    """Return loaded and simulated values on this host, and the ends of the latter on another one, gaps between [ms]."""
    if not own or quantity == "stall":
        return [], [], []
    if quantity == "ttft":
        return line.loaded_ttft_ms, line.simulated_ttft_ms, []
    ends = zip(line.simulated_j_low_ms, line.simulated_j_high_ms, strict=True)
    return line.loaded_j_ms, line.simulated_j_ms, [end for low, high in ends for end in (low, high, None)]


def _mark(fig: go.Figure, i: int, panel: CostPanel, crossing: DrawnCrossing, colour: str) -> None:
    """Add the crossing: a band and a line over the whole height, and the words above the panel."""
    place = {"xref": anchor("x", i), "yref": f"{anchor('y', i)} domain", "y0": 0, "y1": 1, "layer": "below"}
    value = crossing.r_star
    low = value if crossing.low is None else crossing.low
    high = value if crossing.high is None else crossing.high
    drawn = {"visible": value is not None}
    stroke = {"color": INK, "width": 1.5, "dash": "dash" if crossing.extrapolated else "solid"}
    x0, x, x1 = (1.0 if r is None else 1.0 - r for r in (low, value, high))
    fig.add_shape(type="rect", x0=x0, x1=x1, fillcolor=tint(INK, 0.09), line={"width": 0}, **drawn, **place)
    fig.add_shape(type="line", x0=x, x1=x, line=stroke, **drawn, **place)
    fig.add_annotation(panel_text(i, f"<b>against {panel.against.label}</b>", line=1, name="arm", colour=colour))
    fig.add_annotation(panel_text(i, crossing.text, line=0, name="crossing"))
