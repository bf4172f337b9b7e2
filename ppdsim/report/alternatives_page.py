"""The report of a what-if: a :class:`~ppdsim.comparison.Comparison` as one offline HTML file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ppdsim.comparison import Alternative, Comparison, Estimate
from ppdsim.report import wording
from ppdsim.report.figures import ALTERNATIVE_FIGURES
from ppdsim.report.page import fill
from ppdsim.report.tables import Cell, Table

MACHINES = ("P", "D", "link")


def render_alternatives(found: Comparison) -> str:
    """Return the page as HTML."""
    return fill(
        "alternatives.html",
        ALTERNATIVE_FIGURES,
        found,
        headline=found.answer[0],
        found=found,
        tables={"alternatives": alternatives_table(found), "differences": differences_table(found)},
    )


def alternatives_table(found: Comparison) -> Table:
    """Return a row an alternative."""
    columns: dict[str, Callable[[Alternative], Cell | str]] = {
        "alternative": lambda each: each.name,
        "fleet": lambda each: each.fleet,
        "transport": lambda each: each.transport,
        "policy": lambda each: each.policy,
        "good turns/s": lambda each: _plain(each.goodput_per_s, 1.0, ".3g"),
        "limits kept [%]": lambda each: _plain(each.attainment, 100.0, ".1f"),
        "mean TTFT [ms]": lambda each: _time(each.ttft_mean_s),
        "p99 TTFT [ms]": lambda each: _time(each.ttft_p99_s),
        "mean TPOT [ms]": lambda each: _time(each.tpot_mean_s),
        "appended on D [%]": lambda each: _plain(each.appended, 100.0, ".0f"),
        **{f"{name} busy [%]": partial(_busy, name=name) for name in MACHINES},
        **{f"prompt tokens cached on {name} [%]": partial(_cached, name=name) for name in MACHINES[:2]},
        "extrapolated turns [%]": lambda each: f"{100 * each.extrapolated:.0f}",
        "load, a seed each": lambda each: ", ".join(
            f"{each.labels.count(label)} {label}" for label in dict.fromkeys(each.labels)
        ),
    }
    return Table.of("Means over the seeds, with 90 % intervals where the runs differ", found.alternatives, columns)


def differences_table(found: Comparison) -> Table:
    """Return a row a pair: the one with the higher attainment first."""
    return Table.of(
        "Differences in the share of turns that keep the limits; the intervals of all pairs hold at once",
        [each for each in found.differences if each.attainment.mean > 0.0],
        {
            "alternative": lambda each: each.first,
            "against": lambda each: each.second,
            "points more [%]": lambda each: _plain(each.attainment, 100.0, ".1f"),
            "verdict": lambda each: each.verdict.value,
        },
    )


def _busy(found: Alternative, name: str) -> Cell | str:
    """Return how busy a machine or the link is; a dash for what an alternative lacks."""
    return next((_plain(each.busy, 100.0, ".0f") for each in found.machines if each.name == name), "-")


def _cached(found: Alternative, name: str) -> Cell | str:
    """Return the hit rate on a machine; a dash for what an alternative lacks."""
    rate = next((each.hit_rate for each in found.machines if each.name == name), None)
    return "-" if rate is None else _plain(rate, 100.0, ".0f")


def _plain(estimate: Estimate, factor: float, form: str) -> Cell:
    text = format(factor * estimate.mean, form)
    if estimate.low is None or estimate.high is None:
        return Cell(text=text)
    return Cell(text=text, notes=(f"{format(factor * estimate.low, form)} to {format(factor * estimate.high, form)}",))


def _time(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Cell(text="-")
    text = wording.milliseconds(estimate.mean)
    if estimate.low is None or estimate.high is None:
        return Cell(text=text)
    low, high = (wording.milliseconds(end) for end in (estimate.low, estimate.high))
    return Cell(text=text, notes=(f"{low} to {high}",))
