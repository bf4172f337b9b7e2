"""How well the profile reproduces cells that its fit had not seen, beside the noise between repeats."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from ppdsim.answers import CrossoverAnswer
from ppdsim.report.figures._series import Gapped, finite
from ppdsim.report.figures._style import APPEND_COLOUR, INK, MUTED, empty, finish

TITLE = "Error on measured cells that the fit had not seen"
X_TITLE = "absolute relative error [%]"
Y_TITLE = "kind of measurement (kind:transport)"
CAPTION = (
    "Leave-one-out: each cached length and each append length was left out in turn (for decode each batch and each "
    "context), for every kind at once. Beside it the spread between repeats of one cell: what is left to win."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityData:
    """One entry a kind of measurement [%]; gaps where a number is unknown."""

    kinds: list[str]
    in_sample: Gapped
    median: Gapped
    p90: Gapped
    noise: Gapped


def profile_quality_data(answer: CrossoverAnswer) -> QualityData:
    """Return the errors of every kind in per cent."""

    def percent(share: float) -> float | None:
        return None if finite(share) is None else 100.0 * share

    cards = answer.profile.cards
    return QualityData(
        kinds=[card.kind for card in cards],
        in_sample=[percent(card.in_sample_median) for card in cards],
        median=[percent(card.left_out_median) for card in cards],
        p90=[percent(card.left_out_p90) for card in cards],
        noise=[percent(card.repeat_noise_median) for card in cards],
    )


def plot_profile_quality(answer: CrossoverAnswer) -> go.Figure:
    """Draw the left-out error of every kind: median to 90th percentile, in-sample median, repeat noise."""
    data = profile_quality_data(answer)
    if not data.kinds:
        why = "the profile holds no cross-validation"
        return empty(TITLE, CAPTION, why, x_title=X_TITLE, y_title=Y_TITLE)
    fig = go.Figure()
    spans_x: Gapped = []
    spans_y: list[str | None] = []
    for kind, median, p90 in zip(data.kinds, data.median, data.p90, strict=True):
        spans_x += [median, p90, None]
        spans_y += [kind, kind, None]
    fig.add_scatter(
        x=spans_x,
        y=spans_y,
        mode="lines",
        line={"color": APPEND_COLOUR, "width": 3},
        hoverinfo="skip",
        name="left out, median to 90th percentile",
        showlegend=False,
    )
    dots = (
        ("left out, median", data.median, {"color": APPEND_COLOUR, "size": 11}),
        (
            "left out, 90th percentile",
            data.p90,
            {"color": "#ffffff", "size": 10, "line": {"color": APPEND_COLOUR, "width": 2}},
        ),
        ("in sample, median", data.in_sample, {"color": MUTED, "size": 8, "symbol": "diamond"}),
        (
            "repeat noise, median",
            data.noise,
            {"size": 15, "symbol": "line-ns-open", "line": {"color": INK, "width": 2}, "color": INK},
        ),
    )
    for name, values, marker in dots:
        fig.add_scatter(
            x=values,
            y=data.kinds,
            mode="markers",
            name=name,
            marker=marker,
            hovertemplate="%{y}: " + name + " %{x:.1f} %<extra></extra>",
        )
    fig.update_xaxes(title_text=X_TITLE, rangemode="tozero")
    fig.update_yaxes(title_text=Y_TITLE, type="category", autorange="reversed", automargin=True)
    return finish(fig, TITLE, CAPTION, height=120 + 34 * len(data.kinds))
