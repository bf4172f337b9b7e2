"""One run at one rate, and whether it keeps the SLO.

Counted are the turns that are sent while conversations start, less those of the first third of that time, in which the
fleet fills up. The SLO is kept if the share of them that meets every limit (`ppdsim.metrics`: SLO attainment; rejected
and unfinished turns miss) is at least what was asked, and the run's label is not OVERLOADED.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppdsim import metrics
from ppdsim.capacity.binding import binding_of, overload_of
from ppdsim.capacity_result import CapacityRun
from ppdsim.results import Results
from ppdsim.types import NodeRole

WARM_UP = 1.0 / 3.0
"""Part of the time in which conversations start whose turns are not counted [1]."""


def judge(results: Results, rate_per_s: float, wanted: float, roles: Sequence[NodeRole]) -> CapacityRun:
    """Return what a run at `rate_per_s` says; `wanted` is the share of turns that must meet the SLO."""
    turns = results.turns
    arrival = turns["t_arrival_s"]
    first = (turns["turn"] == 0) & ~np.isnan(arrival)
    start_s, end_s = float(arrival[first].min()), float(arrival[first].max())
    from_s = start_s + WARM_UP * (end_s - start_s)
    offered = ~np.isnan(arrival) | (turns["status"] == "rejected")
    # A turn after a rejected one has no arrival: no comparison leaves it out.
    counted = offered & ~(arrival < from_s) & ~(arrival > end_s)
    met = turns["slo_met"].astype(bool)
    attained = metrics.attainment(met, counted)
    share = 0.0 if attained is None else attained
    label = results.summary()["label"]
    span_s = end_s - from_s
    binding = binding_of(turns, counted, results.limits, roles)
    if share >= wanted and label == metrics.OVERLOADED:
        binding = overload_of(turns, counted, roles) or binding
    return CapacityRun(
        rate_per_s=rate_per_s,
        label=label,
        turns=len(results),
        counted=int(counted.sum()),
        window_s=end_s - start_s,
        life_s=_life_s(turns, first),
        turns_per_s=float(counted.sum()) / span_s if span_s > 0.0 else 0.0,
        goodput_per_s=metrics.goodput_per_s(met & counted, span_s) or 0.0,
        attained=share,
        binding=binding,
        kept=share >= wanted and label != metrics.OVERLOADED,
    )


def _life_s(turns: Mapping[str, NDArray[Any]], first: NDArray[np.bool_]) -> float | None:
    rows = np.flatnonzero(turns["turn"] == 0)
    last = np.append(rows[1:], len(turns["turn"])) - 1
    lives = turns["t_last_token_s"][last] - turns["t_arrival_s"][rows]
    lives = lives[first[rows] & ~np.isnan(lives)]
    return metrics.median(lives) if len(lives) else None
