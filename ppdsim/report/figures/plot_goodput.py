"""Goodput of every alternative with its interval: a dot a seed, a bar for the mean."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from ppdsim.comparison import Comparison
from ppdsim.report.figures._style import APPEND_COLOUR, INK, empty, finish, tint

TITLE = "Goodput: turns that keep every limit"
CAPTION = (
    "Bars: mean over the seeds with its 90 % interval; dots: the seeds, which are the same for every alternative. The "
    "interval holds how the load varies, which all share; the table of differences leaves that out."
)
X_TITLE = "alternative"
Y_TITLE = "good turns a second [1/s]"


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodputBar:
    """One alternative: mean, how far the interval reaches below and above, and the seeds [1/s]."""

    name: str
    mean: float
    below: float
    above: float
    seeds: tuple[float, ...]


def goodput_data(found: Comparison) -> list[GoodputBar]:
    """Return the bars in the order of the scenario."""
    bars = []
    for each in found.alternatives:
        estimate = each.goodput_per_s
        low = estimate.mean if estimate.low is None else estimate.low
        high = estimate.mean if estimate.high is None else estimate.high
        bars.append(
            GoodputBar(
                name=each.name,
                mean=estimate.mean,
                below=estimate.mean - low,
                above=high - estimate.mean,
                seeds=each.goodputs_per_s,
            )
        )
    return bars


def plot_goodput(found: Comparison) -> go.Figure:
    """Draw one bar an alternative."""
    bars = goodput_data(found)
    if not bars:
        return empty(TITLE, CAPTION, "nothing was compared", x_title=X_TITLE, y_title=Y_TITLE)
    fig = go.Figure()
    fig.add_bar(
        x=[bar.name for bar in bars],
        y=[bar.mean for bar in bars],
        error_y={
            "type": "data",
            "array": [bar.above for bar in bars],
            "arrayminus": [bar.below for bar in bars],
            "color": INK,
            "thickness": 1.5,
        },
        marker={"color": tint(APPEND_COLOUR, 0.55)},
        width=0.6,
        name="mean with interval",
        showlegend=False,
        hovertemplate="%{x}: %{y:.2f} good turns/s<extra></extra>",
    )
    fig.add_scatter(
        x=[bar.name for bar in bars for _ in bar.seeds],
        y=[seed for bar in bars for seed in bar.seeds],
        mode="markers",
        marker={"color": INK, "size": 5, "opacity": 0.5},
        name="one seed",
        hovertemplate="%{x}, one seed: %{y:.2f}<extra></extra>",
    )
    fig.update_xaxes(title_text=X_TITLE, type="category")
    fig.update_yaxes(title_text=Y_TITLE, rangemode="tozero")
    return finish(fig, TITLE, CAPTION, height=380)
