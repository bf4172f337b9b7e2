"""Level lines of the decision: r*(S), the cache rate above which D wins, and m*(L), the largest append D wins.

A scan finds every change of sign of ``J_P - J_D`` along the axis, ``brentq`` refines each. Captured graph sizes and
chunks make steps, so several crossings near the line are an ordinary answer; the interval is that of the last one
(beyond it D, or P, wins for good), from the draws, each scanned the same way. An overloaded arm has an infinite wait:
the gain is infinite where one arm is, and not a number where both are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import bisect, brentq

from ppdsim.analytical.arm_comparison import ArmComparison, j_gain_s, stall_excess_s, ttft_gain_s
from ppdsim.answers import CrossingKind, Interval
from ppdsim.cost.base import Array, Quantity, maximum
from ppdsim.metrics import interval_90, quantile
from ppdsim.turn import TurnModel

SCAN_POINTS = 400
"""Points of a scan along an axis; finer than the captured sizes where turns lie."""
LARGEST_NEW_TOKENS = 32_768
"""End of the scan for m* [tokens]."""

Gain = Callable[[Quantity], Quantity]
"""From places on an axis to J_P - J_D there [s]. One place is a float: the curves are ten times quicker on those."""
Load = Callable[[ArmComparison, Quantity, Quantity], ArmComparison]
"""(comparison, cached_tokens, new_tokens) -> the comparison with the waits that turns of these sizes meet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossingResult:
    """All crossings along an axis, and the last one's spread over the draws.

    `interval` holds the median and the central 90 % of the draws that have one, None where these have no spread.
    `share_without` is the share of draws without any, `share_carried` that of the axis at which both arms are carried.
    """

    kind: CrossingKind
    values: tuple[float, ...]
    interval: Interval | None
    share_without: float
    share_carried: float


def _rate_scan(total_tokens: int) -> Array:
    return np.linspace(0.0, 1.0 - 1.0 / total_tokens, SCAN_POINTS)


def _whole(tokens: Quantity) -> Quantity:
    return float(round(tokens)) if isinstance(tokens, float) else np.round(tokens)


def _split(rate: Quantity, total_tokens: int) -> tuple[Quantity, Quantity]:
    cached = _whole(rate * total_tokens)
    return cached, maximum(total_tokens - cached, 1.0)


def idle(comparison: ArmComparison, cached_tokens: Quantity, new_tokens: Quantity) -> ArmComparison:  # noqa: ARG001  (a `Load`)
    """Return the comparison as it is: no waits beyond its own."""
    return comparison


def cache_rate_crossing(
    central: TurnModel, samples: TurnModel, comparison: ArmComparison, total_tokens: int, *, load: Load = idle
) -> CrossingResult:
    """Return r* at a fixed prompt of `total_tokens`: where along the cache rate the cheaper arm changes.

    `load` turns the comparison into that of a loaded machine at given (cached_tokens, new_tokens).
    """
    scan = _rate_scan(total_tokens)

    def gain(model: TurnModel, rate: Quantity) -> Quantity:
        tokens = _split(rate, total_tokens)
        return j_gain_s(model, load(comparison, *tokens), *tokens)

    return _search(lambda x: gain(central, x), np.asarray(gain(samples, scan)), scan)


def cache_rate_table(
    central: TurnModel,
    samples: TurnModel,
    comparison: ArmComparison,
    total_tokens: int,
    gammas: Sequence[float],
    residents: Sequence[int],
) -> tuple[tuple[CrossingResult, ...], ...]:
    """Return r* for every price and batch: ``table[g][n]`` is what `cache_rate_crossing` gives there.

    TTFT does not depend on either and the stall only on the batch, so the draws are composed once a batch.
    """
    scan = _rate_scan(total_tokens)
    tokens = _split(scan, total_tokens)
    faster = np.asarray(ttft_gain_s(samples, comparison, *tokens))
    losses = [np.asarray(stall_excess_s(samples, comparison, *tokens, float(n))) for n in residents]

    def search(gamma: float, streams: int, loss: Array) -> CrossingResult:
        priced = comparison.with_price_and_residents(gamma=gamma, residents=streams)

        def gain(rate: Quantity) -> Quantity:
            return j_gain_s(central, priced, *_split(rate, total_tokens))

        return _search(gain, faster - gamma * streams * loss, scan)

    return tuple(tuple(search(g, n, loss) for n, loss in zip(residents, losses, strict=True)) for g in gammas)


def new_tokens_crossing(
    central: TurnModel, samples: TurnModel, comparison: ArmComparison, cached_tokens: int, *, load: Load = idle
) -> CrossingResult:
    """Return m* at a fixed cached prefix: the largest append for which D is the cheaper arm."""
    scan = np.unique(np.round(np.geomspace(1.0, LARGEST_NEW_TOKENS, SCAN_POINTS)))

    def gain(model: TurnModel, new: Quantity) -> Quantity:
        tokens = new * 0.0 + cached_tokens, _whole(new)
        return j_gain_s(model, load(comparison, *tokens), *tokens)

    return _search(lambda x: gain(central, x), np.asarray(gain(samples, scan)), scan)


def sampled_crossing(axis: Array, central: Array, draws: Array) -> CrossingResult:
    """Return the crossings of a gain that is known at the points of `axis` only (a simulated one), by interpolation.

    Points at which the central gain or that of a draw is not finite are not compared: an arm is not carried there.

    Parameters
    ----------
    axis, central
        Points and the central gain there, shape (points,). Infinite where one arm is not carried (positive: P), NaN
        where neither is.
    draws
        The gain of every draw, shape (draws, points).
    """
    both = np.isfinite(central) & np.isfinite(draws).all(axis=0)
    if both.sum() < 2:
        return _without_crossing(central, both, share_without=1.0)
    found = _search(lambda x: np.interp(x, axis[both], central[both]), draws[:, both], axis[both])
    if found.values:
        return replace(found, share_carried=float(both.mean()))
    return _without_crossing(central, both, share_without=found.share_without)


def _search(gain: Gain, samples: Array, scan: Array) -> CrossingResult:
    central = np.asarray(gain(scan))
    ends = scan.tolist()
    values = tuple(dict.fromkeys(_refine(gain, ends[i], ends[i + 1]) for i in np.flatnonzero(_changes(central))))
    last = _last_crossings(samples, scan)
    without = float(np.mean(np.isnan(last)))
    both = np.isfinite(central)
    if not values:
        return _without_crossing(central, both, share_without=without)
    return CrossingResult(
        kind=CrossingKind.VALUE if len(values) == 1 else CrossingKind.SEVERAL,
        values=values,
        interval=_interval(last[np.isfinite(last)]),
        share_without=without,
        share_carried=float(both.mean()),
    )


def _without_crossing(gain: Array, both: NDArray[np.bool_], *, share_without: float) -> CrossingResult:
    """Return what is said of an axis on which the cheaper arm never changes; `both`: where both arms are carried."""
    if not len(gain):
        kind = CrossingKind.NO_ROOM
    elif both.any():
        d_wins, whole = bool(gain[both][-1] > 0.0), bool(both.all()) and len(gain) > 1
        always = (CrossingKind.ALWAYS_P, CrossingKind.ALWAYS_D)
        kind = (always if whole else (CrossingKind.P_WHERE_BOTH, CrossingKind.D_WHERE_BOTH))[d_wins]
    elif np.all(gain == np.inf):
        kind = CrossingKind.P_NOT_CARRIED
    elif np.all(gain == -np.inf):
        kind = CrossingKind.D_NOT_CARRIED
    else:
        kind = CrossingKind.OVERLOADED
    carried = float(both.mean()) if len(both) else 0.0
    return CrossingResult(kind=kind, values=(), interval=None, share_without=share_without, share_carried=carried)


def _interval(crossed: Array) -> Interval | None:
    """Return median and central 90 % of the draws' crossings; None where there are none, or all are the same."""
    if not len(crossed) or np.ptp(crossed) == 0.0:
        return None
    low, high = map(float, interval_90(crossed))
    return Interval(value=float(quantile(crossed, 0.5)), low=low, high=high)


def _changes(gain: Array) -> NDArray[np.bool_]:
    """Return after which points, along the last axis, the cheaper arm changes; not to or from where neither is carried.

    An infinite gain (one arm is overloaded) has a sign: the wait of a server that fills up passes every other cost.
    """
    signs = np.sign(gain)
    return np.asarray((np.diff(signs) != 0) & ~np.isnan(signs[..., 1:]) & ~np.isnan(signs[..., :-1]))


def _refine(gain: Gain, low: float, high: float) -> float:
    def gain_at(x: float) -> float:
        return float(gain(x))

    # Secants need two finite ends; where an arm fills up, halving finds the change of sign as well.
    root = brentq if np.isfinite([gain_at(low), gain_at(high)]).all() else bisect
    return float(root(gain_at, low, high, xtol=1e-9 * max(1.0, high)))


def _last_crossings(samples: Array, scan: Array) -> Array:
    """Return each draw's last crossing by linear interpolation; nan where it has none."""
    changes = _changes(samples)
    last = changes.shape[1] - 1 - np.argmax(changes[:, ::-1], axis=1)
    rows = np.arange(len(samples))
    before, after = samples[rows, last], samples[rows, last + 1]
    between = np.isfinite(before) & np.isfinite(after) & (before != after)
    share = np.full(len(rows), 0.5)
    share[between] = before[between] / (before[between] - after[between])
    found = scan[last] + share * (scan[last + 1] - scan[last])
    return np.where(changes.any(axis=1), found, np.nan)
