"""How every figure looks: one colour an arm over the whole page, quiet axes, titles with units.

The arms' colours are Okabe and Ito's (2008), which readers with any colour vision can tell apart. Dashes are kept for
one meaning: extrapolated or unmeasured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from ppdsim.answers import ArmChoice, CrossoverAnswer
from ppdsim.types import Arm

INK = "#1f2933"
MUTED = "#5b6770"
GRID = "#e6e9ec"
APPEND_COLOUR = "#0072b2"
HANDOFF_COLOURS = ("#d55e00", "#009e73", "#b5509a", "#b07d00", "#3a9bd1", "#7a4a1e")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
DASHED = "dashed: extrapolated or unmeasured"
"""What the legend says about dashes."""
MOSTLY = 0.5
"""Share of extrapolated turns from which what was simulated of them is dashed [1]."""
BAND_OPACITY = 0.16
AXIS = {
    "gridcolor": GRID,
    "zeroline": False,
    "showline": True,
    "linecolor": "#b8c0c7",
    "ticks": "outside",
    "tickcolor": "#b8c0c7",
    "ticklen": 4,
    "title": {"standoff": 8, "font": {"size": 12.5}},
    "tickfont": {"size": 11.5},
}
"""The settings that all axes share."""
PANEL_PX = 290
"""Height of one panel of a figure with several."""
TICK_RATES = (0.0, 0.5, 0.8, 0.9, 0.97, 0.99, 0.997, 0.999, 0.9997)
RATE_TITLE = "cache rate r = cached / all tokens [1]"


def is_append(arm: ArmChoice) -> bool:
    """Return whether the arm prefills on D."""
    return arm.arm == Arm.APPEND_D.value


def arms_of(answer: CrossoverAnswer) -> list[ArmChoice]:
    """Return every arm of an answer once: the append first, then the P arms in the order they appear."""
    named = [
        *(curve.arm for curve in answer.curves),
        *(drawn.against for drawn in answer.maps),
        *(table.against for table in answer.sliders),
        *(crossing.against for crossing in answer.crossings),
    ]
    return sorted(dict.fromkeys(named), key=lambda arm: not is_append(arm))


def colours(answer: CrossoverAnswer) -> dict[ArmChoice, str]:
    """Return the colour of every arm; the same on every figure."""
    handoffs = [arm for arm in arms_of(answer) if not is_append(arm)]
    found = {arm: HANDOFF_COLOURS[i % len(HANDOFF_COLOURS)] for i, arm in enumerate(handoffs)}
    return {arm: found.get(arm, APPEND_COLOUR) for arm in arms_of(answer)}


def tint(colour: str, opacity: float) -> str:
    """Return a hex colour with an opacity.

    >>> tint("#0072b2", 0.5)
    'rgba(0, 114, 178, 0.5)'
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity:g})"


def lighten(colour: str, share: float) -> str:
    """Return a hex colour moved towards white.

    >>> lighten("#0072b2", 0.0), lighten("#000000", 1.0)
    ('#0072b2', '#ffffff')
    """
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in parts)


def log_ticks() -> dict[str, object]:
    """Return the settings of a logarithmic axis whose ticks print whole numbers: 1, 2, 5, 10, 20 ..."""
    steps = [mantissa * 10.0**exponent for exponent in range(-3, 7) for mantissa in (1, 2, 5)]
    return {"type": "log", "tickvals": steps, "ticktext": [f"{step:,.10g}" for step in steps]}


def cache_rate_axis(uncached: Sequence[float]) -> dict[str, object]:
    """Return the settings of the axis of r: logarithmic in 1 - r, because real turns lie where little is new.

    Parameters
    ----------
    uncached
        Every 1 - r that the axis has to hold [1]. Lines give 1 - r as x.
    """
    smallest = min((u for u in uncached if u > 0.0), default=0.1)
    return {
        "type": "log",
        "range": [0.03, math.log10(smallest) - 0.06],
        "tickvals": [1.0 - rate for rate in TICK_RATES],
        "ticktext": [f"{rate:g}" for rate in TICK_RATES],
        "tickangle": 0,
        "title": {"text": RATE_TITLE},
    }


def axis_name(letter: str, panel: int) -> str:
    """Return the name of a panel's axis inside a layout, panels counted from 0.

    >>> axis_name("x", 0), axis_name("y", 2)
    ('xaxis', 'yaxis3')
    """
    return f"{letter}axis{panel + 1 if panel else ''}"


def anchor(letter: str, panel: int) -> str:
    """Return how traces and annotations refer to a panel's axis.

    >>> anchor("x", 0), anchor("y", 2)
    ('x', 'y3')
    """
    return f"{letter}{panel + 1 if panel else ''}"


def side_by_side(fig: go.Figure, panels: int) -> None:
    """Lay out `panels` axes in one row; the page puts them below each other where it is narrow."""
    gap = 0.07
    width = (1.0 - gap * (panels - 1)) / panels
    for panel in range(panels):
        start = panel * (width + gap)
        x = {"anchor": anchor("y", panel), "domain": [start, min(1.0, start + width)]}
        y = {"anchor": anchor("x", panel), "domain": [0.0, 1.0]}
        fig.update_layout({axis_name("x", panel): x, axis_name("y", panel): y})


def panel_text(panel: int, text: str, *, line: int, name: str, colour: str = INK) -> dict[str, object]:
    """Return a line of text above a panel, counted from the panel upwards."""
    return {
        "name": name,
        "text": text,
        "xref": f"{anchor('x', panel)} domain",
        "yref": f"{anchor('y', panel)} domain",
        "x": 0.0,
        "xanchor": "left",
        "y": 1.0,
        "yanchor": "bottom",
        "yshift": 4 + 18 * line,
        "showarrow": False,
        "align": "left",
        "font": {"size": 13, "color": colour},
    }


def finish(
    fig: go.Figure, title: str, caption: str, *, height: int, meta: Mapping[str, object] | None = None
) -> go.Figure:
    """Give a figure the common look; the page prints the title and `meta`'s caption around it."""
    look = {
        "title": {"text": title},
        "meta": {"caption": caption, "choices": [], "panels": 1, **(meta or {})},
        "height": height,
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 64, "r": 16, "t": 84, "b": 104},
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "align": "left"},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"},
    }
    fig.layout.template = "none"
    # One assignment: plotly's own updates take ten times as long, and a page has a hundred drawings.
    layout = fig.layout.to_plotly_json()
    axes = {"xaxis", "yaxis", *(name for name in layout if name.startswith(("xaxis", "yaxis")))}
    fig.layout = _merged(layout, {**look, **dict.fromkeys(sorted(axes), AXIS)})
    return fig


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with others written over them, key by key down to the leaves."""
    both = {
        key: _merged(old[key], value) if isinstance(value, Mapping) and isinstance(old.get(key), Mapping) else value
        for key, value in new.items()
    }
    return {**old, **both}


def empty(title: str, caption: str, why: str, *, x_title: str, y_title: str) -> go.Figure:
    """Return a titled figure that says why it shows nothing."""
    fig = go.Figure()
    fig.update_xaxes(title_text=x_title, range=[0, 1], showticklabels=False)
    fig.update_yaxes(title_text=y_title, range=[0, 1], showticklabels=False)
    fig.add_annotation(text=why, x=0.5, y=0.5, showarrow=False, font={"size": 14, "color": MUTED})
    return finish(fig, title, caption, height=220)
