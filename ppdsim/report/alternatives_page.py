"""The report of a what-if: a :class:`~ppdsim.comparison.Comparison` as one offline HTML file."""

from __future__ import annotations

from pathlib import Path

from ppdsim.comparison import Alternative, Comparison, Estimate
from ppdsim.files import write_whole
from ppdsim.report import wording
from ppdsim.report.figures import ALTERNATIVE_FIGURES
from ppdsim.report.page import drawings, fill
from ppdsim.report.tables import Cell, Table

MACHINES = ("P", "D", "link")


def write_alternatives_report(found: Comparison, path: Path) -> Path:
    """Write the report of a what-if, as a file that appears whole or not at all."""
    return write_whole(path, render_alternatives(found))


def render_alternatives(found: Comparison) -> str:
    """Return the page as HTML."""
    figures = {name: drawings(draw, found) for name, draw in ALTERNATIVE_FIGURES.items()}
    return fill(
        "alternatives.html",
        figures,
        headline=found.answer[0],
        found=found,
        tables={"alternatives": alternatives_table(found), "differences": differences_table(found)},
    )


def alternatives_table(found: Comparison) -> Table:
    """Return a row an alternative."""
    return Table(
        caption="Means over the seeds, with 90 % intervals where the runs differ",
        columns=(
            "alternative",
            "fleet",
            "transport",
            "policy",
            "good turns/s",
            "limits kept [%]",
            "mean TTFT [ms]",
            "p99 TTFT [ms]",
            "mean TPOT [ms]",
            "appended on D [%]",
            *(f"{name} busy [%]" for name in MACHINES),
            "prompt tokens cached on P [%]",
            "prompt tokens cached on D [%]",
            "extrapolated turns [%]",
            "load, a seed each",
        ),
        rows=tuple(
            (
                Cell(text=each.name),
                Cell(text=each.fleet),
                Cell(text=each.transport),
                Cell(text=each.policy),
                _plain(each.goodput_per_s, 1.0, ".3g"),
                _plain(each.attainment, 100.0, ".1f"),
                *(_time(time) for time in (each.ttft_mean_s, each.ttft_p99_s, each.tpot_mean_s)),
                _plain(each.appended, 100.0, ".0f"),
                *_machines(each),
                Cell(text=f"{100 * each.extrapolated:.0f}"),
                Cell(text=", ".join(f"{each.labels.count(label)} {label}" for label in dict.fromkeys(each.labels))),
            )
            for each in found.alternatives
        ),
    )


def differences_table(found: Comparison) -> Table:
    """Return a row a pair: the one with the higher attainment first."""
    shown = [each for each in found.differences if each.attainment.mean > 0.0]
    return Table(
        caption="Differences in the share of turns that keep the limits; the intervals of all pairs hold at once",
        columns=("alternative", "against", "points more [%]", "verdict"),
        rows=tuple(
            (
                Cell(text=each.first),
                Cell(text=each.second),
                _plain(each.attainment, 100.0, ".1f"),
                Cell(text=each.verdict.value),
            )
            for each in shown
        ),
    )


def _plain(estimate: Estimate, factor: float, form: str) -> Cell:
    text = format(factor * estimate.mean, form)
    if estimate.low is None or estimate.high is None:
        return Cell(text=text)
    return Cell(text=text, notes=(f"{format(factor * estimate.low, form)} to {format(factor * estimate.high, form)}",))


def _machines(found: Alternative) -> tuple[Cell, ...]:
    """Return how busy P, D and the link are, and the hit rates of P and D; a dash for what an alternative lacks."""
    by_name = {each.name: each for each in found.machines}
    busy = [by_name[name].busy if name in by_name else None for name in MACHINES]
    hits = [by_name[name].hit_rate if name in by_name else None for name in MACHINES[:2]]
    return tuple(Cell(text="-") if each is None else _plain(each, 100.0, ".0f") for each in (*busy, *hits))


def _time(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Cell(text="-")
    text = wording.milliseconds(estimate.mean)
    if estimate.low is None or estimate.high is None:
        return Cell(text=text)
    low, high = (wording.milliseconds(end) for end in (estimate.low, estimate.high))
    return Cell(text=text, notes=(f"{low} to {high}",))
