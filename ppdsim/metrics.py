"""The definitions of what a user of a served model feels. Everything that reports one of these calls this module.

==================  ==================================================================================================
TTFT ``ttft_s``     from the send of a request to its first output token at the client, queues and KV transfer included
TPOT ``tpot_s``     (E2E - TTFT) / (OSL - 1), one number a request, undefined (NaN) where OSL < 2
ITL ``itl_s``       each gap between consecutive tokens; percentiles are over gaps, not over requests
E2E ``e2e_s``       from the send to the last token at the client
SLO attainment      share of the *offered* requests that meet every limit; rejected and unfinished ones miss
goodput             requests per second that meet every limit
percentile          linear between the two ordered values around it: :func:`quantile`, the only definition in ppdsim
median              the 50th percentile: :func:`median`
==================  ==================================================================================================

Names that mean something else elsewhere: docs/glossary.md. NaN stands for "undefined" in every column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

Column = NDArray[np.float64]
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True, slots=True, kw_only=True)
class SloLimits:
    """Limits that a request must keep to count as good [s]; None is not applied."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    itl_max_s: float | None = None


class Scale(Enum):
    """What values a quantity can have, which its interval keeps to."""

    REAL = "any"
    POSITIVE = "above 0"
    SHARE = "0 to 1"
    SHARE_DIFFERENCE = "-1 to 1"


def ttft_s(t_arrival_s: ArrayLike, t_first_token_s: ArrayLike) -> Column:
    """Return TTFT [s] from client times."""
    return np.subtract(t_first_token_s, t_arrival_s, dtype=np.float64)


def e2e_s(t_arrival_s: ArrayLike, t_last_token_s: ArrayLike) -> Column:
    """Return E2E [s] from client times."""
    return np.subtract(t_last_token_s, t_arrival_s, dtype=np.float64)


def tpot_s(t_first_token_s: ArrayLike, t_last_token_s: ArrayLike, output_tokens: ArrayLike) -> Column:
    """Return TPOT [s]; NaN for answers of one token.

    >>> tpot_s([1.0, 1.0], [2.0, 1.0], [11, 1])
    array([0.1, nan])
    """
    gaps = np.asarray(output_tokens, dtype=np.float64) - 1.0
    return np.subtract(t_last_token_s, t_first_token_s, dtype=np.float64) / np.where(gaps > 0, gaps, np.nan)


def is_known(share: float, rows: int) -> bool:
    """Return whether `rows` values show a quantile: at least one of them must be expected beyond it.

    Below that it is the largest value under another name.

    >>> is_known(0.9, 10), is_known(0.9, 9), is_known(0.99, 99)
    (True, False, False)
    """
    return rows * (1.0 - share) >= 1.0 - 1e-9


def quantile(values: ArrayLike, share: ArrayLike, *, axis: int | None = None) -> Column:
    """Return the values that the given shares of `values` do not exceed, interpolated linearly.

    With n values in order, the share q stands at h = (n - 1) q, between the values floor(h) and floor(h) + 1: numpy's
    default. Where one of those two is infinite nothing lies between them, and the nearer one is taken (at the half, the
    lower one); a number of streams or a price at which an append never loses is infinite.

    Parameters
    ----------
    values
        At least one along `axis`; NaN gives NaN.
    share
        From 0 to 1 [1].
    axis
        By default over all values.

    Returns
    -------
    array
        Shape of `share`, followed by that of `values` without `axis`.

    >>> float(quantile([1.0, 2.0, 4.0], 0.75)), float(quantile([1.0, np.inf], 0.4)), float(quantile([1.0, np.inf], 0.9))
    (3.0, 1.0, inf)
    """
    data, shares = np.asarray(values, dtype=np.float64), np.asarray(share, dtype=np.float64)
    if np.isfinite(data).all():
        return np.asarray(np.quantile(data, shares, axis=axis), dtype=np.float64)
    below, above = (np.quantile(data, shares, axis=axis, method=method) for method in ("lower", "higher"))
    count = data.size if axis is None else data.shape[axis]
    at = (count - 1) * shares
    part = (at - np.floor(at)).reshape(shares.shape + (1,) * (below.ndim - shares.ndim))
    between = np.isfinite(below) & np.isfinite(above)
    # No difference of infinities is taken: it would be NaN.
    step = np.subtract(above, below, out=np.zeros_like(below), where=between)
    return np.where(between, below + part * step, np.where(part > 0.5, above, below))


def median(values: ArrayLike) -> float:
    """Return the half of :func:`quantile`, rounded as the mean of the two middle values; at least one, NaN gives NaN.

    >>> median([3.0, 1.0]), median([np.inf, 1.0])
    (2.0, 1.0)
    """
    data = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(data).all():
        return float(quantile(data, 0.5))
    # As numpy's median, which takes five times as long for the few repeats of a cell.
    below, above = (len(data) - 1) // 2, len(data) // 2
    ordered = np.partition(data, (below, above))
    return float(0.5 * (ordered[below] + ordered[above]) if above > below else ordered[above])


def interval_90(values: ArrayLike, *, axis: int | None = None) -> tuple[Column, Column]:
    """Return the ends of the central 90 % of draws: 5 % of them lie below the first and 5 % above the second."""
    low, high = quantile(values, (0.05, 0.95), axis=axis)
    return low, high


def weighted_quantile(values: Column, counts: Column, share: ArrayLike) -> Column:
    """Return :func:`quantile` of values of which each occurs as often as `counts` says (whole numbers, above 0)."""
    order = np.argsort(values, kind="stable")
    data, until = values[order], np.cumsum(counts[order])
    last = until[-1] - 1.0
    at = last * np.asarray(share, dtype=np.float64)
    whole = np.floor(at)
    below, above = (data[np.searchsorted(until, np.minimum(n, last), "right")] for n in (whole, whole + 1.0))
    return np.asarray(below + (at - whole) * (above - below), dtype=np.float64)


def describe(values: ArrayLike, weights: ArrayLike | None = None) -> dict[str, float | None]:
    """Return mean, p50, p90, p99 and max of the defined values; None where there are none.

    `weights` say how often each value occurs (by default once).
    """
    data = np.asarray(values, dtype=np.float64)
    shares = list(QUANTILES.values())
    if weights is None:
        data = data[~np.isnan(data)]
        if not len(data):
            return dict.fromkeys(("mean", *QUANTILES, "max"))
        points, mean = quantile(data, shares), data.mean()
    else:
        count = np.asarray(weights, dtype=np.float64)
        here = (count > 0) & ~np.isnan(data)
        data, count = data[here], count[here]
        if not len(data):
            return dict.fromkeys(("mean", *QUANTILES, "max"))
        points, mean = weighted_quantile(data, count, shares), np.average(data, weights=count)
    named = {name: float(value) for name, value in zip(QUANTILES, points, strict=True)}
    return {"mean": float(mean), **named, "max": float(data.max())}


def slo_met(columns: Mapping[str, Column], ok: NDArray[np.bool_], limits: SloLimits) -> NDArray[np.bool_]:
    """Return which requests meet every limit; an undefined TPOT or ITL (one token) breaks none, no answer all."""
    good = ok.copy()
    for name in ("ttft_s", "tpot_s", "itl_max_s"):
        limit = getattr(limits, name)
        if limit is not None:
            good &= ~(columns[name] > limit)
    return good


def attainment(met: NDArray[np.bool_], offered: NDArray[np.bool_]) -> float | None:
    """Return the share of offered requests that meet the SLO, or None if none was offered."""
    return float(met[offered].mean()) if offered.any() else None


def goodput_per_s(met: NDArray[np.bool_], span_s: float) -> float | None:
    """Return requests a second that meet the SLO over `span_s`, or None where the span is empty."""
    return float(met.sum()) / span_s if span_s > 0 else None


STABLE, BACKLOGGED, OVERLOADED = "STABLE", "BACKLOGGED", "OVERLOADED"
GROWTH = 1.2
"""Rise of the mean wait from one third of the arrivals to the next that counts as growth."""
LONG_WAIT = 5.0
"""Mean wait, in mean service times, from which growth means overload."""


def load_label(t_arrival_s: Column, wait_s: Column, service_s: Column, *, last_start_s: float, unfinished: int) -> str:
    """Say whether the fleet kept up with what was offered.

    Looks at the turns that arrive while conversations still start (until `last_start_s`; at all turns if these are
    fewer than three), parted into thirds by arrival; W1, W2, W3 are their mean waits and S the mean TTFT without waits.
    OVERLOADED: turns are unfinished, or W3 > 5 S and the wait grew in both steps (W2 > 1.2 W1 and W3 > 1.2 W2).
    BACKLOGGED: W3 > S without that, so turns wait longer than they are served. STABLE: all else. A run that is short
    against its own transients can be told no better than this.
    """
    if unfinished:
        return OVERLOADED
    done = ~np.isnan(wait_s)
    early = done & (t_arrival_s <= last_start_s)
    counted = early if early.sum() >= 3 else done
    waits = wait_s[counted][np.argsort(t_arrival_s[counted], kind="stable")]
    if len(waits) < 3:
        return STABLE
    first, middle, last = (float(part.mean()) for part in np.array_split(waits, 3))
    service = float(service_s[counted].mean())
    if last <= service:
        return STABLE
    grows = middle > GROWTH * first and last > GROWTH * middle
    return OVERLOADED if grows and last > LONG_WAIT * service else BACKLOGGED
