"""N* and gamma* of the headline's turn, and N* over the plane of (cached_tokens, new_tokens)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppdsim.analytical.arm_comparison import ArmComparison
from ppdsim.analytical.breakeven import Case, break_even, break_even_price, break_even_streams
from ppdsim.answers import ALL_EQUAL, NEARLY_EQUAL, NOT_DRAWN, SPREAD, BreakevenMap, BreakEvenPoint, HostInterval
from ppdsim.cost.base import Array
from ppdsim.crossover.arms import choice_of, is_extrapolated
from ppdsim.crossover.plan import Plan
from ppdsim.metrics import interval_90, quantile

MAP_CACHED_TOKENS = (0, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536)
MAP_NEW_TOKENS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16_384)
"""Where the map of N* is drawn [tokens]; the last of each lies outside the first grid and is drawn as extrapolated."""


def host_interval(this_host: float, draws: Array | Sequence[float]) -> HostInterval:
    """Return a number on this host, with the median and the central 90 % of its draws for another, maybe infinite.

    The fitted values are those of the host that was measured; the draws also have the drift between runs of such a
    host, so the two have different middles and the first may lie outside the central 90 % of the second.

    >>> host_interval(3.9, [4.0, 5.0, 6.0]).value
    5.0
    >>> host_interval(float("inf"), [float("inf")] * 3).draws
    'all equal'
    """
    known = np.asarray(draws, dtype=np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return HostInterval(this_host=this_host, value=this_host, low=None, high=None, draws=NOT_DRAWN)
    middle = float(quantile(known, 0.5))
    low, high = map(float, interval_90(known))
    if low == high:
        what = ALL_EQUAL if bool(np.all(known == known[0])) else NEARLY_EQUAL
        return HostInterval(this_host=this_host, value=middle, low=None, high=None, draws=what)
    return HostInterval(this_host=this_host, value=middle, low=low, high=high, draws=SPREAD)


def break_even_point(plan: Plan, comparison: ArmComparison, cached_tokens: int, new_tokens: int) -> BreakEvenPoint:
    """Return N* and gamma* of one turn, idle machines."""
    found = break_even(plan.central, comparison, float(cached_tokens), float(new_tokens))
    cached, new = np.array([float(cached_tokens)]), np.array([float(new_tokens)])
    streams = break_even_streams(plan.samples, comparison, cached, new)[:, 0]
    price = float(np.asarray(break_even_price(plan.central, comparison, cached, new))[0])
    prices = np.asarray(break_even_price(plan.samples, comparison, cached, new))[:, 0]
    # The draws' N* is the largest batch at which D wins; where D wins above N* that is another number.
    n_star = host_interval(found.streams, () if found.case is Case.ABOVE else streams)
    return BreakEvenPoint(
        against=choice_of(comparison),
        cached_tokens=cached_tokens,
        new_tokens=new_tokens,
        previous_output_tokens=comparison.previous_output_tokens,
        prefill_cache="cold" if comparison.cold else "warm",
        handoff_stall_s=comparison.handoff_stall_s,
        case=found.case.value,
        n_star=n_star,
        gamma_star=host_interval(price, prices),
        simulated_n_star=None,
        simulated_gamma_star=None,
        extrapolated=is_extrapolated(plan, comparison, float(cached_tokens), float(new_tokens)),
    )


def breakeven_map(plan: Plan, comparison: ArmComparison) -> BreakevenMap:
    """Return N* over (cached_tokens, new_tokens)."""
    cached, new = np.meshgrid(MAP_CACHED_TOKENS, MAP_NEW_TOKENS, indexing="ij")
    flat = cached.ravel().astype(np.float64), new.ravel().astype(np.float64)
    central = break_even_streams(plan.central, comparison, *flat).reshape(cached.shape)
    samples = break_even_streams(plan.samples, comparison, *flat)
    low, high = (end.reshape(cached.shape) for end in interval_90(samples, axis=0))

    def rows(matrix: Array) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(float(x) for x in row) for row in matrix)

    return BreakevenMap(
        against=choice_of(comparison),
        previous_output_tokens=comparison.previous_output_tokens,
        prefill_cache="cold" if comparison.cold else "warm",
        cached_tokens=MAP_CACHED_TOKENS,
        new_tokens=MAP_NEW_TOKENS,
        n_star=rows(central),
        n_star_low=rows(low),
        n_star_high=rows(high),
        extrapolated=tuple(
            tuple(is_extrapolated(plan, comparison, float(c), float(m)) for m in MAP_NEW_TOKENS)
            for c in MAP_CACHED_TOKENS
        ),
    )
