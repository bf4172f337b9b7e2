"""N* over new tokens at a few cached prefixes, with its interval: cuts through the map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from ppdsim.answers import BreakevenMap, CrossoverAnswer
from ppdsim.report import wording
from ppdsim.report.figures._series import Gapped, dashed, polygon, short_tokens, solid
from ppdsim.report.figures._style import (
    BAND_OPACITY,
    DASHED,
    INK,
    MUTED,
    PANEL_PX,
    anchor,
    axis_name,
    colours,
    empty,
    finish,
    lighten,
    log_ticks,
    panel_text,
    side_by_side,
    tint,
)
from ppdsim.report.figures._views import previous_choice

TITLE = "N* over the length of the append"
X_TITLE = "new tokens m [tokens]"
Y_TITLE = "break-even streams N* [streams]"
CAPTION = (
    "Cuts through the map at a few cached prefixes L (paler is shorter, in every panel): lines of this host, bands "
    "of the central 90 % on another host of this kind. Below a "
    f"line the append on D is cheaper. An N* above {wording.LARGEST_STREAMS:,.0f} is drawn there; where the "
    "hand-off wins at any batch (N* = 0) the line has a gap. The level line is the scenario's N."
)
MOST_LINES = 3
TICKS = tuple(4**power for power in range(1, 11))


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakevenLine:
    """N* at one cached prefix over new tokens [streams]; gaps where it is 0 or unknown."""

    cached_tokens: int
    new_tokens: list[int]
    n_star: Gapped
    low: Gapped
    high: Gapped
    extrapolated: list[bool]
    text: list[str]


def breakeven_lines_data(drawn: BreakevenMap) -> list[BreakevenLine]:
    """Return the lines of one map: at most three cached prefixes, spread over those that were measured."""
    measured = [i for i, row in enumerate(drawn.extrapolated) if drawn.cached_tokens[i] and not all(row)]
    candidates = measured or list(range(len(drawn.cached_tokens)))
    return [_line(drawn, i) for i in _spread(candidates)]


def plot_breakeven_lines(answer: CrossoverAnswer, *, previous_output_tokens: int | None = None) -> go.Figure:
    """Draw N* over new tokens, one panel a P arm.

    Parameters
    ----------
    previous_output_tokens
        The previous answer o; by default the answer's first.
    """
    if not answer.maps:
        return empty(TITLE, CAPTION, "the answer holds no map", x_title=X_TITLE, y_title=Y_TITLE)
    previous = answer.maps[0].previous_output_tokens if previous_output_tokens is None else previous_output_tokens
    maps = [m for m in answer.maps if m.previous_output_tokens == previous]
    colour_of = colours(answer)
    fig = go.Figure()
    side_by_side(fig, len(maps))
    for i, drawn in enumerate(maps):
        lines = breakeven_lines_data(drawn)
        for k, line in enumerate(lines):
            colour = lighten(colour_of[drawn.against], 0.55 * (1 - k / max(len(lines) - 1, 1)))
            _draw(fig, i, line, colour, keyed=i == 0, last=k == len(lines) - 1)
        _mark_residents(fig, i, answer)
        fig.add_annotation(
            panel_text(i, f"<b>against {drawn.against.label}</b>", line=0, name="arm", colour=colour_of[drawn.against])
        )
        x = {"type": "log", "tickvals": TICKS, "ticktext": [short_tokens(t) for t in TICKS], "tickangle": 0}
        y = {**log_ticks(), "title": {"text": Y_TITLE}, "matches": "y" if i else None}
        fig.update_layout({axis_name("x", i): {**x, "title": {"text": X_TITLE}}, axis_name("y", i): y})
    choices = [previous_choice(sorted({m.previous_output_tokens for m in answer.maps}), previous)]
    return finish(fig, TITLE, CAPTION, height=PANEL_PX + 194, meta={"choices": choices, "panels": len(maps)})


def _draw(fig: go.Figure, panel: int, line: BreakevenLine, colour: str, *, keyed: bool, last: bool) -> None:
    name = f"L = {line.cached_tokens:,}"
    common = {"x": line.new_tokens, "xaxis": anchor("x", panel), "yaxis": anchor("y", panel), "legendgroup": name}
    hover = {"text": line.text, "hovertemplate": f"{name}, m = %{{x:,}}<br>N* = %{{text}}<extra></extra>"}
    corners = polygon(line.low, line.high)
    edges = line.low, line.high
    band = {**common, "x": [line.new_tokens[i] for i, _ in corners], "y": [edges[side][i] for i, side in corners]}
    fig.add_scatter(
        **band,
        name=f"{name}, 90 % interval",
        fill="toself",
        fillcolor=tint(colour, BAND_OPACITY),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )
    stroke = {"color": colour, "width": 2.5}
    y = solid(line.n_star, line.extrapolated)
    fig.add_scatter(**common, **hover, y=y, name=name, mode="lines", line=stroke, showlegend=keyed)
    y = dashed(line.n_star, line.extrapolated)
    stroke = {**stroke, "dash": "dash"}
    fig.add_scatter(**common, **hover, y=y, name=DASHED, mode="lines", line=stroke, showlegend=keyed and last)


def _mark_residents(fig: go.Figure, panel: int, answer: CrossoverAnswer) -> None:
    if answer.residents <= 0:
        return
    place = {"xref": f"{anchor('x', panel)} domain", "yref": anchor("y", panel)}
    level = answer.residents
    fig.add_shape(type="line", x0=0, x1=1, y0=level, y1=level, line={"color": INK, "width": 1}, layer="below", **place)
    fig.add_annotation(
        text=f"N = {level}",
        x=0.99,
        y=math.log10(level),
        xanchor="right",
        yanchor="bottom",
        showarrow=False,
        font={"size": 11.5, "color": MUTED},
        **place,
    )


def _line(drawn: BreakevenMap, row: int) -> BreakevenLine:
    def capped(values: Sequence[float]) -> Gapped:
        return [None if math.isnan(v) or v <= 0.0 else min(v, wording.LARGEST_STREAMS) for v in values]

    parts = drawn.n_star[row], drawn.n_star_low[row], drawn.n_star_high[row]
    return BreakevenLine(
        cached_tokens=drawn.cached_tokens[row],
        new_tokens=list(drawn.new_tokens),
        n_star=capped(parts[0]),
        low=capped(parts[1]),
        high=capped(parts[2]),
        extrapolated=list(drawn.extrapolated[row]),
        text=[
            f"{wording.streams(value)}; another host {wording.spread(low, high)}"
            for value, low, high in zip(*parts, strict=True)
        ],
    )


def _spread(items: list[int]) -> list[int]:
    """Return at most `MOST_LINES` of the items, the last one among them, evenly apart."""
    if len(items) <= MOST_LINES:
        return items
    step = (len(items) - 1) / (MOST_LINES - 1)
    return [items[round(k * step)] for k in range(MOST_LINES)]
