"""TTFT, TPOT, E2E and KV transfer time of each arm over the cache rate, as simulated under the scenario's traffic."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from ppdsim.answers import ArmChoice, ArmCurve, CrossoverAnswer
from ppdsim.report import wording
from ppdsim.report.figures._series import Gapped, dashed, ms, solid
from ppdsim.report.figures._style import (
    DASHED,
    PANEL_PX,
    RATE_TITLE,
    anchor,
    axis_name,
    cache_rate_axis,
    colours,
    empty,
    finish,
    is_append,
    log_ticks,
    panel_text,
    side_by_side,
)
from ppdsim.report.figures._views import View, append_of, handoffs_of, view_choices, view_of, views_of

TITLE = "What a user sees, simulated under load"
CAPTION = (
    "Means over the simulated turns at the scenario's arrivals, N and answers. An append on D transfers no KV. The "
    "axis is logarithmic in 1 - r."
)
PANELS = {
    "TTFT": "time to the first token [ms]",
    "TPOT": "time per output token [ms]",
    "E2E": "whole turn [ms]",
    "KV transfer": "KV transfer time [ms]",
}
"""The panels, with the titles of their axes."""
LOGARITHMIC = ("TTFT", "KV transfer")


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyLine:
    """One arm over 1 - r: the values of every panel [ms]."""

    arm: ArmChoice
    uncached: list[float]
    text: list[str]
    extrapolated: list[bool]
    values_ms: dict[str, Gapped]


def latencies_data(answer: CrossoverAnswer, view: View) -> list[LatencyLine]:
    """Return the simulated arms of a view, the append first; none where nothing was simulated."""
    append = append_of(answer, view)
    arms = [*([] if append is None else [append]), *handoffs_of(answer, view)]
    return [_line(curve) for curve in arms if curve.simulated_ttft_s]


def plot_latencies(
    answer: CrossoverAnswer, *, total_tokens: int | None = None, previous_output_tokens: int | None = None
) -> go.Figure:
    """Draw one panel a quantity, one line an arm.

    Parameters
    ----------
    total_tokens, previous_output_tokens
        The view; by default the middle prompt length after no answer.
    """
    shown = view_of(answer, total_tokens, previous_output_tokens)
    lines = [] if shown is None else latencies_data(answer, shown)
    if shown is None or not lines:
        return empty(TITLE, CAPTION, "nothing was simulated", x_title=RATE_TITLE, y_title="simulated time [ms]")
    colour_of = colours(answer)
    fig = go.Figure()
    side_by_side(fig, len(PANELS))
    for i, (quantity, title) in enumerate(PANELS.items()):
        for line in lines:
            _draw(fig, i, line, line.values_ms[quantity], colour_of[line.arm])
        scale = log_ticks() if quantity in LOGARITHMIC else {"rangemode": "tozero"}
        fig.update_layout(
            {
                axis_name("x", i): cache_rate_axis([u for line in lines for u in line.uncached]),
                axis_name("y", i): {**scale, "title": {"text": title}},
            }
        )
        fig.add_annotation(panel_text(i, f"<b>{quantity}</b>", line=0, name="quantity"))
    meta = {"choices": view_choices(views_of(answer), shown), "panels": len(PANELS)}
    return finish(fig, TITLE, CAPTION, height=PANEL_PX + 194, meta=meta)


def _draw(fig: go.Figure, panel: int, line: LatencyLine, values: Gapped, colour: str) -> None:
    name = line.arm.label
    stroke = {"color": colour, "width": 2}
    common = {
        "x": line.uncached,
        "text": line.text,
        "hovertemplate": f"%{{text}}<br>{name}: %{{y:.4s}} ms<extra></extra>",
        "legendgroup": name,
        "xaxis": anchor("x", panel),
        "yaxis": anchor("y", panel),
    }
    fig.add_scatter(
        **common,
        y=solid(values, line.extrapolated),
        name=name,
        mode="lines+markers",
        line=stroke,
        marker={"size": 4},
        showlegend=panel == 0,
    )
    fig.add_scatter(
        **common,
        y=dashed(values, line.extrapolated),
        name=DASHED,
        mode="lines",
        line={**stroke, "dash": "dash"},
        showlegend=panel == 0 and is_append(line.arm),
    )


def _line(curve: ArmCurve) -> LatencyLine:
    moved = ms(curve.simulated_kv_transfer_s)
    return LatencyLine(
        arm=curve.arm,
        uncached=[1.0 - rate for rate in curve.cache_rate],
        text=[
            f"r = {wording.rate(rate)}: {new:,} new"
            for rate, new in zip(curve.cache_rate, curve.new_tokens, strict=True)
        ],
        extrapolated=list(curve.extrapolated),
        values_ms={
            "TTFT": ms(curve.simulated_ttft_s),
            "TPOT": ms(curve.simulated_tpot_s),
            "E2E": ms(curve.simulated_e2e_s),
            "KV transfer": [None if value == 0.0 else value for value in moved],
        },
    )
