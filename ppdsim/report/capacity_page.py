"""The report of a capacity: a :class:`~ppdsim.capacity_result.CapacityResult` as one offline HTML file."""

from __future__ import annotations

from pathlib import Path

from ppdsim.capacity_result import Binding, CapacityResult
from ppdsim.files import write_whole
from ppdsim.report.figures import CAPACITY_FIGURES
from ppdsim.report.page import drawings, fill
from ppdsim.report.tables import Cell, Table


def write_capacity_report(found: CapacityResult, path: Path) -> Path:
    """Write the report of a capacity, as a file that appears whole or not at all, and return its path."""
    return write_whole(path, render_capacity(found))


def render_capacity(found: CapacityResult) -> str:
    """Return the page as HTML."""
    figures = {name: drawings(draw, found) for name, draw in CAPACITY_FIGURES.items()}
    return fill(
        "capacity.html",
        figures,
        headline=found.answer[0],
        found=found,
        tables={"seeds": seeds_table(found), "runs": runs_table(found)},
    )


def seeds_table(found: CapacityResult) -> Table:
    """Return a row a seed: its bracket."""
    return Table(
        caption="The bracket of each seed: the largest rate that keeps the SLO, there and below, and the next one up",
        columns=("seed", "kept up to [1/s]", "broken from [1/s]", "runs"),
        rows=tuple(
            (
                Cell(text=str(seed.seed)),
                Cell(text=f"{seed.low_per_s:.4g}" if seed.low_per_s else "no rate"),
                Cell(text="-" if seed.high_per_s is None else f"{seed.high_per_s:.4g}"),
                Cell(text=str(len(seed.runs))),
            )
            for seed in found.seeds
        ),
    )


def runs_table(found: CapacityResult) -> Table:
    """Return a row a run."""
    return Table(
        caption="Every run of the search",
        columns=(
            "seed",
            "rate [1/s]",
            "turns/s",
            "good turns/s",
            "limits kept [%]",
            "kept",
            "load",
            "what most others met",
        ),
        rows=tuple(
            (
                Cell(text=str(seed.seed)),
                Cell(text=f"{run.rate_per_s:.4g}"),
                Cell(text=f"{run.turns_per_s:.4g}"),
                Cell(text=f"{run.goodput_per_s:.4g}"),
                Cell(text=f"{100 * run.attained:.1f}"),
                Cell(text="yes" if run.kept else "no"),
                Cell(text=run.label),
                Cell(text=_place(run.binding)),
            )
            for seed in found.seeds
            for run in seed.runs
        ),
    )


def _place(binding: Binding | None) -> str:
    if binding is None:
        return "-"
    return binding.place if binding.node is None else f"{binding.place} of node {binding.node} ({binding.role})"
