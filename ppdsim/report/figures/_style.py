"""How every figure looks: one colour an arm over the whole page, quiet axes, titles with units.

The arms' colours are Okabe and Ito's (2008), which readers with any colour vision can tell apart. Dashes are kept for
one meaning: extrapolated or unmeasured.
"""

from __future__ import annotations

from collections.abc import Mapping

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
BAND_OPACITY = 0.16


def is_append(arm: ArmChoice) -> bool:
    """Return whether the arm prefills on D."""
    return arm.arm == Arm.APPEND_D.value


def arms_of(answer: CrossoverAnswer) -> list[ArmChoice]:
    """Return every arm of an answer once: the append first, then the P arms in the order they appear."""
    named = [
        *(curve.arm for curve in answer.curves),
        *(item.against for item in (*answer.maps, *answer.sliders, *answer.crossings)),
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
    return {"type": "log", "tickvals": steps, "ticktext": [f"{step:,.10g}" for step in steps], "minor_ticks": ""}


def panel_text(axis: int, text: str, *, line: int, name: str) -> dict[str, object]:
    """Return a line of text above a panel, counted from the panel upwards; `axis` counts from 1."""
    suffix = "" if axis == 1 else str(axis)
    return {
        "name": name,
        "text": text,
        "xref": f"x{suffix} domain",
        "yref": f"y{suffix} domain",
        "x": 0.0,
        "xanchor": "left",
        "y": 1.0,
        "yanchor": "bottom",
        "yshift": 4 + 17 * line,
        "showarrow": False,
        "align": "left",
        "font": {"size": 13, "color": INK},
    }


def finish(fig: go.Figure, title: str, caption: str, *, height: int, meta: Mapping[str, object] | None = None) -> go.Figure:
    """Give a figure the common look; the page prints the title and `meta`'s caption around it."""
    fig.update_layout(
        title={"text": title},
        meta={"caption": caption, "section": "answer", **(meta or {})},
        height=height,
        font={"family": FONT, "size": 13, "color": INK},
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="#ffffff",
        margin={"l": 64, "r": 16, "t": 52, "b": 60},
        hoverlabel={"font": {"family": FONT, "size": 12}, "align": "left"},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"},
    )
    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "showline": True,
        "linecolor": "#b8c0c7",
        "ticks": "outside",
        "tickcolor": "#b8c0c7",
        "ticklen": 4,
        "title_standoff": 8,
        "title_font": {"size": 12.5},
        "tickfont": {"size": 11.5},
        "automargin": True,
    }
    fig.update_xaxes(**axis)
    fig.update_yaxes(**axis)
    return fig


def empty(title: str, caption: str, why: str, *, x_title: str, y_title: str, section: str = "answer") -> go.Figure:
    """Return a titled figure that says why it shows nothing."""
    fig = go.Figure()
    fig.update_xaxes(title_text=x_title, range=[0, 1], showticklabels=False)
    fig.update_yaxes(title_text=y_title, range=[0, 1], showticklabels=False)
    fig.add_annotation(text=why, x=0.5, y=0.5, showarrow=False, font={"size": 14, "color": MUTED})
    return finish(fig, title, caption, height=220, meta={"section": section})
