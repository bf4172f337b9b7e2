"""How many turns keep the SLO over the arrival rate: every run of the search, a line a seed, and the rate found."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from ppdsim.capacity_result import CapacityResult, CapacityRun
from ppdsim.metrics import OVERLOADED
from ppdsim.report.figures._style import (
    APPEND_COLOUR,
    BAND_OPACITY,
    HANDOFF_COLOURS,
    INK,
    MUTED,
    empty,
    finish,
    log_ticks,
    tint,
)

TITLE = "Turns that keep every limit, by arrival rate"
CAPTION = (
    "Every run of the search, a line a seed. Level line: the share asked for; upright line: the largest rate that "
    "keeps it, the median of the seeds, with the interval over seeds (of one seed: the search's bracket). Hollow "
    "points: the run was OVERLOADED, which never counts as kept."
)
X_TITLE = "conversations a second [1/s]"
Y_TITLE = "turns that keep every limit [%]"
COLOURS = (APPEND_COLOUR, *HANDOFF_COLOURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityLine:
    """One seed's runs by rising rate: rates [1/s], shares [%], whether each was overloaded, and what it ran into."""

    name: str
    rate: list[float]
    attained: list[float]
    overloaded: list[bool]
    hover: list[str]


def capacity_data(found: CapacityResult) -> list[CapacityLine]:
    """Return a line a seed."""
    return [
        CapacityLine(
            name=f"seed {seed.seed}",
            rate=[run.rate_per_s for run in seed.runs],
            attained=[100.0 * run.attained for run in seed.runs],
            overloaded=[run.label == OVERLOADED for run in seed.runs],
            hover=[_words(run) for run in seed.runs],
        )
        for seed in found.seeds
        if seed.runs
    ]


def plot_capacity(found: CapacityResult) -> go.Figure:
    """Draw the share of good turns over the rate."""
    lines = capacity_data(found)
    if not lines:
        return empty(TITLE, CAPTION, "no run was made", x_title=X_TITLE, y_title=Y_TITLE)
    fig = go.Figure()
    for i, line in enumerate(lines):
        colour = COLOURS[i % len(COLOURS)]
        fig.add_scatter(
            x=line.rate,
            y=line.attained,
            text=line.hover,
            mode="lines+markers",
            name=line.name,
            line={"color": colour, "width": 1.5},
            marker={
                "color": ["#ffffff" if each else colour for each in line.overloaded],
                "line": {"color": colour, "width": 1.5},
                "size": 7,
            },
            hovertemplate="%{text}<extra>%{fullData.name}</extra>",
        )
    fig.add_hline(y=100.0 * found.attained_wanted, line={"color": MUTED, "width": 1})
    if found.rate_per_s:
        interval = found.interval_per_s
        if interval.high is not None and interval.low > 0.0:
            fig.add_vrect(x0=interval.low, x1=interval.high, fillcolor=tint(INK, BAND_OPACITY / 2.0), line_width=0)
        fig.add_vline(x=found.rate_per_s, line={"color": INK, "width": 1.5})
    fig.update_xaxes(title_text=X_TITLE, **log_ticks())
    fig.update_yaxes(title_text=Y_TITLE, range=[-3.0, 103.0])
    return finish(fig, TITLE, CAPTION, height=420)


def _words(run: CapacityRun) -> str:
    binding = run.binding
    facts = [
        f"{run.rate_per_s:.4g} conversations/s, {run.turns_per_s:.4g} turns/s",
        f"{run.attained:.1%} of {run.counted:,} turns keep every limit",
        *([run.label] if run.label == OVERLOADED else []),
        *([] if binding is None else [f"most others: {binding.place}"]),
    ]
    return "<br>".join(facts)
