"""Level lines of the decision: r*(S), the cache rate above which D wins, and m*(L), the largest append D wins.

A scan finds every change of sign of ``J_P - J_D`` along the axis, ``brentq`` refines each. Captured graph sizes and
chunks make steps, so several crossings near the line are an ordinary answer; the interval is that of the last one
(beyond it D, or P, wins for good), from the draws, each scanned the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from ppdsim.analytical.question import Question, j_gain_s, stall_excess_s, ttft_gain_s
from ppdsim.answers import CrossingKind, Interval
from ppdsim.cost.base import Array
from ppdsim.metrics import interval_90
from ppdsim.turn import TurnModel

SCAN_POINTS = 400
"""Points of a scan along an axis; finer than the captured sizes where turns lie."""
LARGEST_NEW_TOKENS = 32_768
"""End of the scan for m* [tokens]."""

Load = Callable[[Question, Array, Array], Question]
"""(question, cached_tokens, new_tokens) -> the question with the waits that turns of these sizes meet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All crossings along an axis, the interval of the last one, and the share of draws without any."""

    kind: CrossingKind
    values: tuple[float, ...]
    interval: Interval | None
    share_without: float


def _rate_scan(total_tokens: int) -> Array:
    return np.linspace(0.0, 1.0 - 1.0 / total_tokens, SCAN_POINTS)


def _split(rate: Array, total_tokens: int) -> tuple[Array, Array]:
    cached = np.round(rate * total_tokens)
    return cached, np.maximum(total_tokens - cached, 1.0)


def idle(question: Question, cached_tokens: Array, new_tokens: Array) -> Question:  # noqa: ARG001  (a `Load`)
    """Return the question as it is: no waits beyond its own."""
    return question


def cache_rate_crossing(
    middle: TurnModel, cloud: TurnModel, question: Question, total_tokens: int, *, load: Load = idle
) -> Found:
    """Return r* at a fixed prompt of `total_tokens`: where along the cache rate the cheaper arm changes.

    `load` turns the question into that of a loaded machine at given (cached_tokens, new_tokens).
    """
    scan = _rate_scan(total_tokens)

    def gain(model: TurnModel, rate: Array) -> Array:
        tokens = _split(rate, total_tokens)
        return np.asarray(j_gain_s(model, load(question, *tokens), *tokens))

    return _search(lambda x: gain(middle, x), gain(cloud, scan), scan)


def cache_rate_table(
    middle: TurnModel,
    cloud: TurnModel,
    question: Question,
    total_tokens: int,
    gammas: Sequence[float],
    residents: Sequence[int],
) -> tuple[tuple[Found, ...], ...]:
    """Return r* for every price and batch: ``table[g][n]`` is what `cache_rate_crossing` gives there.

    TTFT does not depend on either and the stall only on the batch, so the draws are composed once a batch.
    """
    scan = _rate_scan(total_tokens)
    tokens = _split(scan, total_tokens)
    faster = np.asarray(ttft_gain_s(cloud, question, *tokens))
    losses = [np.asarray(stall_excess_s(cloud, question, *tokens, float(n))) for n in residents]

    def search(gamma: float, streams: int, loss: Array) -> Found:
        def gain(rate: Array) -> Array:
            at = question.at(gamma=gamma, residents=streams)
            return np.asarray(j_gain_s(middle, at, *_split(rate, total_tokens)))

        return _search(gain, faster - gamma * streams * loss, scan)

    return tuple(tuple(search(g, n, loss) for n, loss in zip(residents, losses, strict=True)) for g in gammas)


def new_tokens_crossing(
    middle: TurnModel, cloud: TurnModel, question: Question, cached_tokens: int, *, load: Load = idle
) -> Found:
    """Return m* at a fixed cached prefix: the largest append for which D is the cheaper arm."""
    scan = np.unique(np.round(np.geomspace(1.0, LARGEST_NEW_TOKENS, SCAN_POINTS)))

    def gain(model: TurnModel, new: Array) -> Array:
        tokens = np.full_like(new, float(cached_tokens)), np.round(new)
        return np.asarray(j_gain_s(model, load(question, *tokens), *tokens))

    return _search(lambda x: gain(middle, x), gain(cloud, scan), scan)


def sampled_crossing(axis: Array, middle: Array, draws: Array) -> Found:
    """Return the crossings of a gain that is known at the points of `axis` only (a simulated one), by interpolation.

    Parameters
    ----------
    axis, middle
        Points and the central gain there, shape (points,).
    draws
        The gain of every draw, shape (draws, points).
    """
    return _search(lambda x: np.interp(x, axis, middle), draws, axis)


def _search(gain: Callable[[Array], Array], samples: Array, scan: Array) -> Found:
    central = gain(scan)
    changes = np.flatnonzero(np.diff(np.sign(central)) != 0)
    # A crossing right at a point of the scan ends one piece and starts the next.
    values = tuple(dict.fromkeys(_refine(gain, scan[i], scan[i + 1]) for i in changes))
    last = _last_crossings(samples, scan)
    without = float(np.mean(np.isnan(last)))
    if not values:
        kind = CrossingKind.ALWAYS_D if central[-1] > 0 else CrossingKind.ALWAYS_P
        return Found(kind=kind, values=(), interval=None, share_without=without)
    interval = None
    crossed = last[np.isfinite(last)]
    if len(crossed):
        low, high = map(float, interval_90(crossed))
        interval = Interval(value=values[-1], low=min(low, values[-1]), high=max(high, values[-1]))
    kind = CrossingKind.VALUE if len(values) == 1 else CrossingKind.SEVERAL
    return Found(kind=kind, values=values, interval=interval, share_without=without)


def _refine(gain: Callable[[Array], Array], low: float, high: float) -> float:
    def at(x: float) -> float:
        return float(gain(np.array([x]))[0])

    if at(low) == 0.0:
        return float(low)
    return float(brentq(at, low, high, xtol=1e-9 * max(1.0, high)))


def _last_crossings(samples: Array, scan: Array) -> Array:
    """Return each draw's last crossing by linear interpolation; nan where it has none."""
    changes = np.diff(np.sign(samples), axis=1) != 0
    last = changes.shape[1] - 1 - np.argmax(changes[:, ::-1], axis=1)
    rows = np.arange(len(samples))
    before, after = samples[rows, last], samples[rows, last + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(before == after, 0.5, before / (before - after))
    found = scan[last] + share * (scan[last + 1] - scan[last])
    return np.where(changes.any(axis=1), found, np.nan)
