"""The page: one HTML file with the figures, their numbers and plotly.js inside, so that it needs no network.

Python draws every figure for every value of the choices that it declares; the page's scripts swap them. Only the cost
curves are redrawn by a script (sliders), from the numbers of `costs_data`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ppdsim.answers import CrossoverAnswer
from ppdsim.report import tables, wording
from ppdsim.report.figures import FIGURES
from ppdsim.report.figures._costs import QUANTITIES, costs_data, plain
from ppdsim.report.figures._style import cache_rate_axis, log_ticks

REDRAWN = "costs"
"""The figure that a script of the page redraws from its numbers; every other one is drawn once a combination."""


def render(answer: CrossoverAnswer) -> str:
    """Return what ``ppdsim crossover`` found as HTML."""
    return fill(
        "report.html",
        FIGURES,
        answer,
        data={"costs": _costs(answer)},
        headline=answer.headline,
        answer=answer,
        meaning=wording.meaning(answer),
        tables={
            "r": tables.crossings_table(answer, "r"),
            "new_tokens": tables.crossings_table(answer, "new_tokens"),
            "points": tables.points_table(answer),
            "quality": tables.quality_table(answer.profile.cards),
            "parameters": tables.parameters_table(answer),
        },
        costs_script=verbatim("costs.js"),
    )


def fill(
    name: str,
    figures: Mapping[str, Callable[..., go.Figure]],
    drawn: object,
    *,
    headline: str,
    data: Mapping[str, Any] | None = None,
    **values: Any,
) -> str:
    """Return a template of the report, filled in; an undefined name in it is an error.

    Parameters
    ----------
    figures, drawn
        Functions of the page's figures by name, and the result that they draw.
    data
        What the page's scripts read beside the figures.
    values
        What the template names.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ppdsim.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    shown = {each: drawings(draw, drawn, redrawn=each == REDRAWN) for each, draw in figures.items()}
    return environment.get_template(name).render(
        headline=headline,
        figures=shown,
        data=script_json({"figures": shown, **(data or {})}),
        style=verbatim("report.css"),
        plotly=plotly_script(),
        script=verbatim("figures.js"),
        **values,
    )


def drawings(draw: Callable[..., go.Figure], answer: object, *, redrawn: bool = False) -> dict[str, Any]:
    """Return a figure as the page takes it: its texts, its choices, and a drawing for each combination of them.

    A `redrawn` figure is drawn once, because a script of the page draws the other combinations.
    """
    first = draw(answer).to_plotly_json()
    layout = first["layout"]
    choices = [] if redrawn else layout["meta"]["choices"]
    drawn = {_key({choice["name"]: choice["value"] for choice in choices}): _drawing(first)}
    for chosen in _combinations(choices):
        if _key(chosen) not in drawn:
            drawn[_key(chosen)] = _drawing(draw(answer, **chosen).to_plotly_json())
    return {"title": layout["title"]["text"], **layout["meta"], "variants": drawn}


def _combinations(choices: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    names = [choice["name"] for choice in choices]
    for values in itertools.product(*([value for value, _ in choice["options"]] for choice in choices)):
        yield dict(zip(names, values, strict=True))


def _key(chosen: Mapping[str, Any]) -> str:
    """Return the name of a combination; the page's script builds the same one."""
    return "|".join(str(value) for value in chosen.values())


def _drawing(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Return a figure's JSON without what the page prints around it."""
    layout = {key: value for key, value in figure["layout"].items() if key not in ("meta", "title")}
    return {"data": figure["data"], "layout": layout}


def _costs(answer: CrossoverAnswer) -> dict[str, Any]:
    """Return what the sliders need: the numbers of every view, the places of both sliders, and where they start."""
    views = costs_data(answer)
    panels = [panel for drawn in views.values() for panel in drawn]
    return {
        "views": {
            view.key: {
                "panels": [plain(panel) for panel in drawn],
                "x_range": cache_rate_axis([u for panel in drawn for u in panel.uncached])["range"],
            }
            for view, drawn in views.items()
        },
        "gammas": sorted({answer.gamma, *(gamma for panel in panels for gamma in panel.gammas)}),
        "residents": sorted({answer.residents, *(streams for panel in panels for streams in panel.residents)}),
        "gamma": answer.gamma,
        "streams": answer.residents,
        "quantities": QUANTITIES,
        "log_axis": log_ticks(),
        "not_computed": wording.NOT_COMPUTED,
    }


def script_json(value: object) -> Markup:
    """Return JSON that may stand inside a script element; NaN and infinities are an error here, not in the browser."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  (no character of it can end the element)


def plotly_script() -> Markup:
    """Return plotly.js itself, so that the page needs no network."""
    return Markup(get_plotlyjs())  # noqa: S704  (plotly's own file, not input)


def verbatim(name: str) -> Markup:
    """Return a file of the page as it is."""
    source = resources.files("ppdsim.report") / "templates" / name
    return Markup(source.read_text(encoding="utf-8"))  # noqa: S704  (the package's own file)
