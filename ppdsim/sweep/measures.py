"""What a row of a sweep says about its run: the columns of the table, and those that are judged and drawn.

Percentiles are over the turns of the run (:func:`ppdsim.metrics.describe`); ``itl_max`` is each turn's longest gap
between tokens. ``j_s`` is the mean over the turns that ended of TTFT + gamma x what others lost to the turn, at the
scenario's own price. Nothing of the machine that ran it enters a row, so rows are equal wherever they come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ppdsim import metrics
from ppdsim.cost.base import Array
from ppdsim.registry import Registry
from ppdsim.results import STATUSES, Results
from ppdsim.simulation.compare import mean_j_s
from ppdsim.types import Arm
from ppdsim.units import MS_PER_S

LATENCIES = ("ttft_s", "tpot_s", "itl_max_s", "e2e_s")
STATISTICS = ("mean", *metrics.QUANTILES, "max")
Rows: TypeAlias = dict[tuple[int, int], Mapping[str, Any]]
"""The columns of rows by (number of the point in the grid, seed)."""
COLUMNS = (
    "label", "turns", *STATUSES, "j_s",
    *(f"{name.removesuffix('_s')}_{statistic}_s" for name in LATENCIES for statistic in STATISTICS),
    "itl_p99_s", "queue_mean_s", "kv_transfer_mean_s", "goodput_per_s", "attainment", "turns_per_s",
    "output_tokens_per_s", *(f"share_{arm.value}" for arm in Arm), "extrapolated",
)  # fmt: skip
"""Columns of a row beside the grid's keys and the seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A column that is judged and drawn; `scale` takes it from SI to `unit`."""

    column: str
    title: str
    unit: str
    scale: float = 1.0
    higher_is_better: bool = False


def _ms(column: str, title: str) -> Measure:
    return Measure(column=column, title=title, unit="ms", scale=MS_PER_S)


MEASURES: Registry[Measure] = Registry(
    "measure",
    {
        measure.column: measure
        for measure in (
            _ms("j_s", "J"),
            _ms("ttft_mean_s", "TTFT mean"),
            _ms("ttft_p50_s", "TTFT p50"),
            _ms("ttft_p99_s", "TTFT p99"),
            _ms("tpot_mean_s", "TPOT mean"),
            _ms("tpot_p99_s", "TPOT p99"),
            _ms("itl_max_p99_s", "max ITL p99"),
            _ms("e2e_mean_s", "E2E mean"),
            _ms("e2e_p99_s", "E2E p99"),
            Measure(column="goodput_per_s", title="goodput", unit="turns/s", higher_is_better=True),
            Measure(column="attainment", title="SLO met", unit="%", scale=100.0, higher_is_better=True),
        )
    },
)
"""By column; the first is what a sweep is judged by unless something else is asked for."""


def measure(results: Results, gamma: float) -> dict[str, Any]:
    """Return the columns of a run, in the order of `COLUMNS` (undefined values are None)."""
    summary = results.summary()
    turns = results.turns
    ended = turns["status"] == "ok"
    described = {name: metrics.describe(turns[name]) for name in LATENCIES}
    found: dict[str, Any] = {
        "label": summary["label"],
        "turns": summary["turns"],
        **summary["status"],
        "j_s": mean_j_s(turns, ended, gamma) if ended.any() else None,
        **{
            f"{name.removesuffix('_s')}_{statistic}_s": values[statistic]
            for name, values in described.items()
            for statistic in STATISTICS
        },
        "itl_p99_s": summary["itl_s"]["p99"],
        "queue_mean_s": summary["queue_s"]["mean"],
        "kv_transfer_mean_s": summary["kv_transfer_s"]["mean"],
        "goodput_per_s": summary["goodput"]["turns_per_s"],
        "attainment": summary["goodput"]["attainment"],
        "turns_per_s": summary["throughput"]["turns_per_s"],
        "output_tokens_per_s": summary["throughput"]["output_tokens_per_s"],
        **{f"share_{arm.value}": summary["arms"].get(arm.value, 0.0) for arm in Arm},
        "extrapolated": summary["extrapolated"],
    }
    return {name: found[name] for name in COLUMNS}


def column(rows: Rows, number: int, seeds: tuple[int, ...], name: str) -> Array:
    """Return a column of a point by seed, shape (seeds,); NaN where there is no row or no value."""
    values = (rows.get((number, seed), {}).get(name) for seed in seeds)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
