"""The report of a capacity: a :class:`~ppdsim.capacity_result.CapacityResult` as one offline HTML file."""

from __future__ import annotations

from ppdsim.capacity_result import Binding, CapacityResult
from ppdsim.report.figures import CAPACITY_FIGURES
from ppdsim.report.page import fill
from ppdsim.report.tables import Table


def render_capacity(found: CapacityResult) -> str:
    """Return the page as HTML."""
    return fill(
        "capacity.html",
        CAPACITY_FIGURES,
        found,
        headline=found.answer[0],
        found=found,
        tables={"seeds": seeds_table(found), "runs": runs_table(found)},
    )


def seeds_table(found: CapacityResult) -> Table:
    """Return a row a seed: its bracket."""
    return Table.of(
        "The bracket of each seed: the largest rate that keeps the SLO, there and below, and the next one up",
        found.seeds,
        {
            "seed": lambda seed: str(seed.seed),
            "kept up to [1/s]": lambda seed: f"{seed.low_per_s:.4g}" if seed.low_per_s else "no rate",
            "broken from [1/s]": lambda seed: "-" if seed.high_per_s is None else f"{seed.high_per_s:.4g}",
            "runs": lambda seed: str(len(seed.runs)),
        },
    )


def runs_table(found: CapacityResult) -> Table:
    """Return a row a run."""
    return Table.of(
        "Every run of the search",
        [(seed.seed, run) for seed in found.seeds for run in seed.runs],
        {
            "seed": lambda at: str(at[0]),
            "rate [1/s]": lambda at: f"{at[1].rate_per_s:.4g}",
            "turns/s": lambda at: f"{at[1].turns_per_s:.4g}",
            "good turns/s": lambda at: f"{at[1].goodput_per_s:.4g}",
            "limits kept [%]": lambda at: f"{100 * at[1].attained:.1f}",
            "kept": lambda at: "yes" if at[1].kept else "no",
            "load": lambda at: at[1].label,
            "what most others met": lambda at: _place(at[1].binding),
        },
    )


def _place(binding: Binding | None) -> str:
    if binding is None:
        return "-"
    return binding.place if binding.node is None else f"{binding.place} of node {binding.node} ({binding.role})"
