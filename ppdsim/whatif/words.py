"""The answer of a what-if in plain sentences, each with its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ppdsim.comparison import Alternative, Difference, Estimate, Verdict
from ppdsim.scenario import Scenario
from ppdsim.units import MS_PER_S, format_s

ONE_TRACE = "on this one trace, whose arrivals no seed changes"


def answer(
    found: Sequence[Alternative], differences: Sequence[Difference], *, seeds: int, fixed: bool
) -> tuple[str, ...]:
    """Return the verdict, and a second sentence on what users see.

    The first sentence is about disaggregation where there are fleets with and without prefill machines, else about the
    best alternative.
    """
    ranked = sorted(found, key=lambda each: -each.goodput_per_s.mean)
    basis = ONE_TRACE if fixed else f"over {seeds} seeds, 95 % intervals"
    kinds = [[each for each in ranked if each.disaggregated is kind] for kind in (True, False)]
    if all(kinds):
        parted, unified = (kind[0] for kind in kinds)
        verdict = _disaggregation(parted, unified, _between(differences, parted, unified), basis)
    else:
        verdict = _best(ranked, differences, basis)
    return (verdict, _users(found))


def _disaggregation(parted: Alternative, unified: Alternative, difference: Difference, basis: str) -> str:
    both = f"{_named(parted)} carries {_rate(parted.goodput_per_s)} good turns/s, {_named(unified)}"
    both += f" {_rate(unified.goodput_per_s)}"
    apart = _signed(difference.goodput_per_s)
    start = {
        Verdict.BETTER: "Disaggregate",
        Verdict.WORSE: "Do not disaggregate",
        Verdict.EQUAL: "Disaggregation makes no difference",
        Verdict.UNDECIDED: "Undecided",
    }[difference.verdict]
    return f"{start}: {both}, a difference of {apart} ({basis})."


def _best(ranked: Sequence[Alternative], differences: Sequence[Difference], basis: str) -> str:
    first, rest = ranked[0], ranked[1:]
    verdicts = {other.name: _between(differences, first, other).verdict for other in rest}
    even = [other for other in rest if verdicts[other.name] is Verdict.EQUAL]
    unsure = [other for other in rest if verdicts[other.name] is Verdict.UNDECIDED]
    carried = f"{_named(first)} carries the most good turns/s, {_rate(first.goodput_per_s)}"
    if unsure:
        return f"Undecided between {_names([first, *even, *unsure])}: {carried} ({basis})."
    if len(even) == len(rest):
        return f"No difference: all carry {_rate(first.goodput_per_s)} good turns/s within 1 % ({basis})."
    lead = f"{_names([first, *even])} carry the most good turns/s, {_rate(first.goodput_per_s)}" if even else carried
    nearest = next(other for other in rest if other not in even)
    apart = _signed(_between(differences, first, nearest).goodput_per_s)
    return (
        f"{lead}; {_named(nearest)} comes next with {_rate(nearest.goodput_per_s)}, a difference of {apart} ({basis})."
    )


def _users(found: Sequence[Alternative]) -> str:
    """Return TTFT of every alternative, and the share appended where it differs."""
    mixed = any(0.0 < each.appended.mean < 1.0 for each in found)
    parts = []
    for each in found:
        told = "no answers" if math.isnan(each.ttft_mean_s.mean) else format_s(each.ttft_mean_s.mean)
        if mixed:
            told += f" ({each.appended.mean:.0%} of turns appended on D)"
        parts.append(f"{each.name} {told}")
    return f"Mean TTFT: {', '.join(parts)}."


def table(found: Sequence[Alternative]) -> str:
    """Return the alternatives as text, in milliseconds."""
    width = max(len(each.name) for each in found) + 2
    heads = ("good turns/s", "(interval)", "SLO met", "TTFT", "TTFT p99", "TPOT", "appended")
    widths = (14, 18, 9, 10, 10, 8, 10)
    lines = [f"{'':{width}}" + "".join(f"{head:>{w}}" for head, w in zip(heads, widths, strict=True))]
    for each in found:
        good = each.goodput_per_s
        ends = "" if good.low is None or good.high is None else f"({good.low:.2f} to {good.high:.2f})"
        times = (each.ttft_mean_s, each.ttft_p99_s, each.tpot_mean_s)
        cells = (
            f"{good.mean:.2f}",
            ends,
            f"{each.attainment.mean:.1%}",
            *("-" if math.isnan(time.mean) else f"{time.mean * MS_PER_S:.1f}" for time in times),
            f"{each.appended.mean:.0%}",
        )
        label = ", ".join(sorted(set(each.labels) - {"STABLE"}))
        row = "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        lines.append(f"{each.name:{width}}{row}" + (f"   {label}" if label else ""))
    lines.append("ms; means over seeds of each run's mean or p99; good: every limit of the SLO kept")
    return "\n".join(lines)


def limits(ttft_s: float | None, tpot_s: float | None, itl_max_s: float | None) -> str:
    """Return the SLO in words.

    >>> limits(0.8, None, 0.1)
    'TTFT up to 800.0 ms, largest inter-token gap up to 100.0 ms'
    """
    named = {"TTFT": ttft_s, "TPOT": tpot_s, "largest inter-token gap": itl_max_s}
    told = [f"{name} up to {format_s(limit)}" for name, limit in named.items() if limit is not None]
    return ", ".join(told) or "none: every answered turn is good"


def workload(turns: int, scenario: Scenario) -> str:
    """Return what the alternatives met: how many turns a seed, of what."""
    kind = "?" if scenario.workload is None else scenario.workload.kind
    return f"{kind}, {turns:,} turns in the first seed"


def _between(differences: Sequence[Difference], first: Alternative, second: Alternative) -> Difference:
    return next(d for d in differences if (d.first, d.second) == (first.name, second.name))


def _rate(estimate: Estimate) -> str:
    return f"{estimate.mean:.2f}"


def _signed(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:+.2f}"
    return f"{estimate.mean:+.2f} ({estimate.low:+.2f} to {estimate.high:+.2f})"


def _named(alternative: Alternative) -> str:
    overloaded = "OVERLOADED" in alternative.labels
    return alternative.name + (", overloaded," if overloaded else "")


def _names(several: Sequence[Alternative]) -> str:
    names = [each.name for each in several]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
