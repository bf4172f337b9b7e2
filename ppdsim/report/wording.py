"""The report's numbers and conclusions in words; tables, read-outs and figures all print through here."""

from __future__ import annotations

import math
from collections.abc import Callable

from ppdsim.answers import NEARLY_EQUAL, NOT_DRAWN, Crossing, CrossingKind, CrossoverAnswer, HostInterval
from ppdsim.units import MS_PER_S

NOT_COMPUTED = "not computed"
LARGEST_STREAMS = 1000.0
"""N* at and above this is drawn as if it were this [streams]; larger than any batch an engine runs."""


def rate(value: float) -> str:
    """Print a cache rate; near 1 with as many digits as its distance from 1 needs.

    >>> rate(0.5312), rate(0.9871), rate(0.99612)
    ('0.53', '0.987', '0.9961')
    """
    distance = 1.0 - value
    digits = 2 if distance >= 0.1 or distance <= 0.0 else min(4, 1 - math.floor(math.log10(distance)))
    return f"{value:.{digits}f}"


def streams(value: float) -> str:
    """Print a number of streams.

    >>> streams(3.31), streams(52.4), streams(float("inf")), streams(float("nan"))
    ('3.3', '52', 'any number', 'unknown')
    """
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "any number"
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def tokens(value: float) -> str:
    """Print a token count.

    >>> tokens(1234.4)
    '1,234'
    """
    return f"{value:,.0f}" if math.isfinite(value) else "unknown"


def milliseconds(value_s: float) -> str:
    """Print a duration in ms to three figures.

    >>> milliseconds(0.01298), milliseconds(1.3541), milliseconds(float("nan"))
    ('13.0', '1,354', '-')
    """
    if not math.isfinite(value_s):
        return "-"
    value = value_s * MS_PER_S
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percent(share: float | None) -> str:
    """Print a share as per cent.

    >>> percent(0.0253), percent(None), percent(float("nan"))
    ('2.5 %', '-', '-')
    """
    return "-" if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def cache_rate_crossing(kind: str, value: float | None, ends: tuple[float, float, float] | None) -> str:
    """Print an r* as the read-out beside the sliders does: on this host, and `ends` (median, low, high) on another.

    >>> cache_rate_crossing("value", 0.531, (0.54, 0.474, 0.602))
    'r* = 0.53; another host 0.54 (0.47 to 0.60)'
    >>> cache_rate_crossing("always D", None, None)
    'always D'
    >>> cache_rate_crossing("several", 0.531, (0.54, 0.474, 0.602))
    'several, last r* = 0.53; another host 0.54 (0.47 to 0.60)'
    """
    if value is None or not math.isfinite(value):
        return kind if kind != CrossingKind.VALUE.value else NOT_COMPUTED
    number = f"r* = {rate(value)}"
    if ends is not None:
        middle, low, high = map(rate, ends)
        number += f"; another host {middle} ({low} to {high})"
    return f"several, last {number}" if kind == CrossingKind.SEVERAL.value else number


def price(value: float) -> str:
    """Print a price of a stalled stream-second.

    >>> price(0.984), price(float("inf"))
    ('0.98', 'any price')
    """
    return streams(value).replace("any number", "any price")


def spread(low: float, high: float) -> str:
    """Print the central 90 % of draws of a number of streams.

    >>> spread(2.6, float("inf")), spread(float("inf"), float("inf"))
    ('2.6 to any number', 'nearly all draws equal')
    """
    return NEARLY_EQUAL.replace("equal", "draws equal") if low == high else f"{streams(low)} to {streams(high)}"


def another_host(found: HostInterval, show: Callable[[float], str]) -> str:
    """Print what a number is on another host of this kind.

    >>> another_host(HostInterval(this_host=3.3, value=4.0, low=2.6, high=float("inf")), streams)
    'another host: 4 (2.6 to any number)'
    >>> another_host(HostInterval(this_host=3.3, value=3.3, low=None, high=None, draws="all equal"), streams)
    'another host: 3.3 (all draws equal)'
    """
    if found.draws == NOT_DRAWN:
        return "another host: not drawn"
    spread = found.draws.replace("equal", "draws equal")
    if found.low is not None and found.high is not None:
        spread = f"{show(found.low)} to {show(found.high)}"
    return f"another host: {show(found.value)} ({spread})"


def meaning(answer: CrossoverAnswer) -> tuple[str, str]:
    """Return the two sentences below the headline: what is traded, and what the cache rate decides."""
    traded = (
        "Prefilling a turn on the decode machine D saves the hand-off of its KV from the prefill machine P, but stalls "
        "every stream that decodes on D; N* is the number of streams at which both arms cost the same."
    )
    return traded, _at_the_scenario(answer)


def _at_the_scenario(answer: CrossoverAnswer) -> str:
    setting = f"With N = {answer.residents} streams on D and gamma = {answer.gamma:g}"
    found = [c for c in answer.crossings if c.axis == "r" and c.source == "analytical"]
    if not found:
        return f"{setting}, no crossing over the cache rate was computed."
    total = sorted({c.fixed_tokens for c in found})[len({c.fixed_tokens for c in found}) // 2]
    clauses: dict[str, str] = {}
    for crossing in found:
        if crossing.fixed_tokens == total:
            clauses.setdefault(crossing.against.label, _clause(crossing))
    return f"{setting}, a prompt of {total:,} tokens is cheaper on D: " + "; ".join(clauses.values()) + "."


def _clause(crossing: Crossing) -> str:
    against = f"against {crossing.against.label}"
    if crossing.kind is CrossingKind.ALWAYS_D:
        return f"{against} always"
    if crossing.kind is CrossingKind.ALWAYS_P:
        return f"{against} never"
    if not crossing.values:
        return f"{against}: {crossing.kind.value}"
    cached = f"{_per_cent(crossing.values[-1])} %"
    # Arms alternate from crossing to crossing, so D is the cheaper one in every other range below the last.
    below = len(crossing.values) // 2
    ranges = f" (and in {below} {'range' if below == 1 else 'ranges'} below)" if below else ""
    share = f"{against} from {cached} cached{ranges}"
    if crossing.interval is None:
        return share
    middle, low, high = (_per_cent(x) for x in (crossing.interval.value, crossing.interval.low, crossing.interval.high))
    return f"{share} (another host: {middle} %, {low} to {high} %)"


def _per_cent(value: float) -> str:
    """Print a cache rate in per cent, with the digits that `rate` gives it."""
    digits = len(rate(value).partition(".")[2])
    return f"{100 * value:.{digits - 2}f}"


def crossing_cell(crossing: Crossing) -> tuple[str, tuple[str, ...]]:
    """Print a crossing for a table: r* or m* on this host, or the case in words; and what else is to be said.

    >>> from ppdsim.answers import ArmChoice, Interval
    >>> at = dict(against=ArmChoice(arm="p-full", transport="tcp"), fixed_tokens=8192, previous_output_tokens=0)
    >>> at |= dict(prefill_cache="warm", gamma=1.0, residents=4, handoff_stall_s=0.0, extrapolated=False)
    >>> found = Interval(value=0.54, low=0.47, high=0.6)
    >>> several = dict(axis="r", kind=CrossingKind.SEVERAL, values=(0.1, 0.53), interval=found, share_without=0.0)
    >>> crossing_cell(Crossing(**at, **several))
    ('0.53', ('another host: 0.54 (0.47 to 0.60)', 'several: the last of 2'))
    >>> never = dict(axis="new_tokens", kind=CrossingKind.ALWAYS_D, values=(), interval=None, share_without=0.8)
    >>> crossing_cell(Crossing(**at, **never))
    ('always D', ('no crossing in 80.0 % of draws',))
    """
    notes = []
    show = rate if crossing.axis == "r" else tokens
    if crossing.interval is not None:
        middle, low, high = map(show, (crossing.interval.value, crossing.interval.low, crossing.interval.high))
        notes.append(f"another host: {middle} ({low} to {high})")
    elif crossing.values and crossing.share_without < 1.0:
        notes.append("no interval: all draws equal")
    if crossing.kind is CrossingKind.SEVERAL:
        notes.append(f"several: the last of {len(crossing.values)}")
    if crossing.share_without > 0.0:
        notes.append(f"no crossing in {percent(crossing.share_without)} of draws")
    if crossing.share_carried < 1.0:
        notes.append(f"both arms are carried at {percent(crossing.share_carried)} of the axis")
    if not crossing.values:
        return crossing.kind.value, tuple(notes)
    return show(crossing.values[-1]), tuple(notes)
