"""The answer of a what-if in plain sentences, each with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from ppdsim.comparison import Alternative, Difference, Estimate, Verdict
from ppdsim.metrics import OVERLOADED, STABLE
from ppdsim.scenario import Scenario
from ppdsim.units import MS_PER_S, format_s


def answer(found: Sequence[Alternative], differences: Sequence[Difference], *, basis: str) -> tuple[str, ...]:
    """Return the verdict, and a second sentence on what users see.

    The first sentence is about disaggregation where there are fleets with and without prefill machines, else about the
    best alternative. `basis` says what the numbers rest on.
    """
    ranked = sorted(found, key=lambda each: -each.attainment.mean)
    kinds = [[each for each in ranked if each.disaggregated is kind] for kind in (True, False)]
    if all(kinds):
        parted, unified = (kind[0] for kind in kinds)
        verdict = _disaggregation(parted, unified, _difference_of(differences, parted, unified))
    else:
        verdict = _best(ranked, differences)
    return (f"{verdict} ({basis}).", _users(found))


def _disaggregation(parted: Alternative, unified: Alternative, difference: Difference) -> str:
    start = {
        Verdict.BETTER: "Disaggregate",
        Verdict.WORSE: "Do not disaggregate",
        Verdict.EQUAL: "Disaggregation makes no difference",
        Verdict.UNDECIDED: "Undecided",
    }[difference.verdict]
    apart = _points(difference.attainment)
    return f"{start}: {_kept(parted, unified)}, a difference of {apart}"


def _best(ranked: Sequence[Alternative], differences: Sequence[Difference]) -> str:
    first, last = ranked[0], ranked[-1]
    verdicts = {other.name: _difference_of(differences, first, other).verdict for other in ranked[1:]}
    if all(verdict is Verdict.EQUAL for verdict in verdicts.values()):
        return f"No difference: {_kept(first)}, and the others differ by less than a point"
    rivals = [other for other in ranked[1:] if verdicts[other.name] is not Verdict.BETTER]
    start = "Undecided" if any(verdicts[other.name] is Verdict.UNDECIDED for other in rivals) else "Best"
    top = _kept(first, *rivals)
    if last in rivals:
        return f"{start}: {top}"
    least = _points(_difference_of(differences, last, first).attainment)
    return f"{start}: {top}; least {_share(last)}, a difference of {least}"


def _users(found: Sequence[Alternative]) -> str:
    """Return TTFT of every alternative, and the share appended where a policy chooses."""
    mixed = any(0.0 < each.appended.mean < 1.0 for each in found)
    parts = []
    for each in found:
        told = "no answers" if each.ttft_mean_s is None else format_s(each.ttft_mean_s.mean)
        parts.append(f"{each.name} {told}" + (f" ({each.appended.mean:.0%})" if mixed else ""))
    return f"Mean TTFT{' (share of turns appended on D)' if mixed else ''}: {', '.join(parts)}."


def table(found: Sequence[Alternative]) -> str:
    """Return the alternatives as text, in milliseconds."""
    width = max(len(each.name) for each in found) + 2
    heads = ("good turns/s", "(interval)", "SLO met", "TTFT", "TTFT p99", "TPOT", "appended")
    widths = (14, 18, 9, 10, 10, 8, 10)
    lines = [f"{'':{width}}" + "".join(f"{head:>{w}}" for head, w in zip(heads, widths, strict=True))]
    for each in found:
        good = each.goodput_per_s
        ends = "" if good.low is None or good.high is None else f"({good.low:.3g} to {good.high:.3g})"
        times = (each.ttft_mean_s, each.ttft_p99_s, each.tpot_mean_s)
        cells = (
            f"{good.mean:.3g}",
            ends,
            f"{each.attainment.mean:.1%}",
            *("-" if time is None else f"{time.mean * MS_PER_S:.1f}" for time in times),
            f"{each.appended.mean:.0%}",
        )
        label = ", ".join(sorted(set(each.labels) - {STABLE}))
        row = "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        lines.append(f"{each.name:{width}}{row}" + (f"   {label}" if label else ""))
    lines.append("times in ms: mean over the seeds of each run's mean or p99; good turns keep every limit of the SLO")
    lines += [f"{each.name:{width}}{machines(each)}" for each in found if each.machines]
    return "\n".join(lines)


def machines(found: Alternative) -> str:
    """Return how busy the machines of an alternative are, and how much of the prompts they have cached."""
    return "; ".join(
        f"{each.name} busy {each.busy.mean:.0%}"
        + ("" if each.hit_rate is None else f", {each.hit_rate.mean:.0%} of prompt tokens cached")
        for each in found.machines
    )


def limits(ttft_s: float | None, tpot_s: float | None, itl_max_s: float | None) -> str:
    """Return the SLO in words.

    >>> limits(0.8, None, 0.1)
    'TTFT up to 800.0 ms, largest inter-token gap up to 100.0 ms'
    """
    named = {"TTFT": ttft_s, "TPOT": tpot_s, "largest inter-token gap": itl_max_s}
    told = [f"{name} up to {format_s(limit)}" for name, limit in named.items() if limit is not None]
    return ", ".join(told) or "none: every answered turn is good"


def outside(shares: Sequence[float]) -> tuple[str, ...]:
    """Return a note on turns outside the measured domain, unless there are none.

    >>> outside([0.1, 0.25]), outside([0.0])
    (('10 % to 25 % of the turns lie outside what the profile was measured on',), ())
    """
    low, high = round(100 * min(shares)), round(100 * max(shares))
    span = f"{low} %" if low == high else f"{low} % to {high} %"
    return (f"{span} of the turns lie outside what the profile was measured on",) if high else ()


def workload(turns: int, scenario: Scenario) -> str:
    """Return what the alternatives met: how many turns a seed, of what."""
    kind = "?" if scenario.workload is None else scenario.workload.kind
    return f"{kind}, {turns:,} turns in the first seed"


def _difference_of(differences: Sequence[Difference], first: Alternative, second: Alternative) -> Difference:
    return next(d for d in differences if (d.first, d.second) == (first.name, second.name))


def _kept(first: Alternative, *others: Alternative) -> str:
    """Return what alternatives carry: the share of the turns that keep the limits, and how many a second."""
    share, rate = first.attainment.mean, first.goodput_per_s.mean
    told = f"{_named(first)} keeps the limits in {share:.1%} of turns ({rate:.3g} good turns/s)"
    return ", ".join([told, *map(_share, others)])


def _share(alternative: Alternative) -> str:
    share, rate = alternative.attainment.mean, alternative.goodput_per_s.mean
    return f"{_named(alternative)} in {share:.1%} ({rate:.3g})"


def _named(alternative: Alternative) -> str:
    return f"{alternative.name}, overloaded," if OVERLOADED in alternative.labels else alternative.name


def _points(estimate: Estimate) -> str:
    """Return a difference of shares in points of a per cent."""
    told = f"{100 * estimate.mean:+.1f}"
    if estimate.low is not None and estimate.high is not None:
        told += f" ({100 * estimate.low:+.1f} to {100 * estimate.high:+.1f})"
    return f"{told} points"
