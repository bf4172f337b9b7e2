"""What a row of a sweep says about its run: the columns of the table, and those that are judged and drawn.

Percentiles are over the turns of the run (:func:`ppdsim.metrics.describe`); ``itl_max`` is each turn's longest gap
between tokens. ``j_s`` is the mean over the turns that ended of TTFT + gamma x what others lost to the turn, at the
scenario's own price. What machines did and turns found there: :mod:`ppdsim.activity`. Nothing
of the machine that ran it enters a row, so rows are equal wherever they come from.

The row of a run that leaves nothing to chance also has each measure by part (:mod:`ppdsim.simulation.replicates`). A
rate of a part is that of its turns over its share of the run; how busy a machine is has no parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ppdsim import metrics
from ppdsim.columns import Columns
from ppdsim.cost.base import Array
from ppdsim.metrics import Scale
from ppdsim.registry import Registry
from ppdsim.results import STATUSES, Results
from ppdsim.simulation.compare import mean_j_s
from ppdsim.simulation.replicates import parts_of
from ppdsim.types import Arm
from ppdsim.units import MS_PER_S

LATENCIES = ("ttft_s", "tpot_s", "itl_max_s", "e2e_s")
STATISTICS = ("mean", *metrics.QUANTILES, "max")
PARTS = "parts"
"""Key under which the row of a run that leaves nothing to chance has its measures by part."""
MACHINES = ("prefill", "decode")
CACHE = ("hit_rate", "held_share", "uncached_p50_tokens", "evictions", "evicted_tokens")
Rows: TypeAlias = dict[tuple[int, int], Mapping[str, Any]]
"""The columns of rows by (number of the point in the grid, seed)."""
COLUMNS = (
    "label", "turns", *STATUSES, "j_s",
    *(f"{name.removesuffix('_s')}_{statistic}_s" for name in LATENCIES for statistic in STATISTICS),
    "itl_p99_s", "queue_mean_s", "kv_transfer_mean_s", "goodput_per_s", "attainment", "turns_per_s",
    "output_tokens_per_s", *(f"share_{arm.value}" for arm in Arm), "extrapolated",
    "busy_prefill", "busy_decode", "busy_link", "streams_p50", "streams_p90",
    *(f"{name}_{machine}" for machine in MACHINES for name in CACHE), *(f"pool_max_{machine}" for machine in MACHINES),
)  # fmt: skip
"""Columns of a row beside the grid's keys and the seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A column that is judged and drawn; `scale` takes it from SI to `unit`, `values` says which it can have."""

    column: str
    title: str
    unit: str
    values: Scale
    scale: float = 1.0
    higher_is_better: bool = False

    @property
    def differences(self) -> Scale:
        """Return which values a difference of two can have."""
        return Scale.SHARE_DIFFERENCE if self.values is Scale.SHARE else Scale.REAL


def _ms(column: str, title: str) -> Measure:
    return Measure(column=column, title=title, unit="ms", values=Scale.POSITIVE, scale=MS_PER_S)


def _share(column: str, title: str, *, higher_is_better: bool) -> Measure:
    return Measure(
        column=column, title=title, unit="%", values=Scale.SHARE, scale=100.0, higher_is_better=higher_is_better
    )


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
            Measure(
                column="goodput_per_s", title="goodput", unit="turns/s", values=Scale.POSITIVE, higher_is_better=True
            ),
            _share("attainment", "SLO met", higher_is_better=True),
            _share("hit_rate_prefill", "hit rate on P", higher_is_better=True),
            _share("hit_rate_decode", "hit rate on D", higher_is_better=True),
            _share("busy_prefill", "P busy", higher_is_better=False),
            _share("busy_decode", "D busy", higher_is_better=False),
            _share("busy_link", "link busy", higher_is_better=False),
        )
    },
)
"""By column; the first is what a sweep is judged by unless something else is asked for."""


def measure(results: Results, gamma: float) -> dict[str, Any]:
    """Return the columns of a run, in the order of `COLUMNS` (undefined values are None)."""
    summary = results.summary()
    busy, pools, caches = summary["busy"], summary["kv_pool"], summary["prefix_cache"]
    found: dict[str, Any] = {
        "label": summary["label"],
        "turns": summary["turns"],
        **summary["status"],
        **_of_turns(results.turns, gamma),
        "itl_p99_s": summary["itl_s"]["p99"],
        "queue_mean_s": summary["queue_s"]["mean"],
        "kv_transfer_mean_s": summary["kv_transfer_s"]["mean"],
        "goodput_per_s": summary["goodput"]["turns_per_s"],
        "attainment": summary["goodput"]["attainment"],
        "turns_per_s": summary["throughput"]["turns_per_s"],
        "output_tokens_per_s": summary["throughput"]["output_tokens_per_s"],
        **{f"share_{arm.value}": summary["arms"].get(arm.value, 0.0) for arm in Arm},
        "extrapolated": summary["extrapolated"],
        **{f"busy_{place}": busy[place]["mean_share"] for place in (*MACHINES, "link")},
        **{f"streams_{name}": summary["decode_streams"][name] for name in ("p50", "p90")},
        **{f"pool_max_{machine}": pools[machine]["max_share"] for machine in MACHINES},
    }
    for machine in MACHINES:
        cache = caches[machine]
        found.update({f"{name}_{machine}": cache[name] for name in CACHE if name in cache})
        found[f"uncached_p50_tokens_{machine}"] = cache["uncached_tokens"]["p50"]
    return {name: found[name] for name in COLUMNS}


def measure_parts(results: Results, gamma: float) -> dict[str, list[float | None]]:
    """Return each measure that has parts, in each part of a run."""
    rows = list(parts_of(len(results)))
    found: dict[str, list[float | None]] = {}
    span_s = results.summary()["span_s"]
    for part in rows:
        turns = Columns({name: results.turns.part(name, part) for name in results.turns})
        found_cached = results.activity.hit_rates(turns)
        good = float(turns["slo_met"].astype(bool).mean())
        values = {
            **_of_turns(turns, gamma),
            "goodput_per_s": good * len(results) / span_s if span_s > 0.0 else None,
            "attainment": good,
            **{f"hit_rate_{machine}": share for machine, share in found_cached.items()},
        }
        for name in MEASURES:
            if name in values:
                found.setdefault(name, []).append(values[name])
    return found


def _of_turns(turns: Mapping[str, NDArray[Any]], gamma: float) -> dict[str, float | None]:
    """Return J and the latencies of some turns."""
    ended = turns["status"] == "ok"
    described = {name: metrics.describe(turns[name]) for name in LATENCIES}
    return {
        "j_s": mean_j_s(turns, ended, gamma) if ended.any() else None,
        **{
            f"{name.removesuffix('_s')}_{statistic}_s": values[statistic]
            for name, values in described.items()
            for statistic in STATISTICS
        },
    }


def column(rows: Rows, number: int, seeds: tuple[int, ...], name: str) -> Array:
    """Return a column of a point by seed, shape (seeds,); NaN where there is no row or no value."""
    values = (rows.get((number, seed), {}).get(name) for seed in seeds)
    return _numbers(values)


def parts(rows: Rows, number: int, seeds: tuple[int, ...], name: str) -> Array:
    """Return a measure of a point by part of its only run, shape (parts,); empty where it has none."""
    return _numbers(rows.get((number, seeds[0]), {}).get(PARTS, {}).get(name, ()))


def _numbers(values: Iterable[float | None]) -> Array:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
