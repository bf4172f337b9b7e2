"""A capacity as one paragraph."""

from __future__ import annotations

from collections.abc import Mapping

from ppdsim.capacity_result import Binding, CapacityResult, CapacityRun
from ppdsim.results import with_notes
from ppdsim.simulation.replicates import basis
from ppdsim.units import MS_PER_S, format_s

NAMES = {"ttft_s": "TTFT", "tpot_s": "TPOT", "itl_max_s": "longest ITL"}


def sentence(found: CapacityResult) -> str:
    """Return the answer in words, a line each, with its notes."""
    return with_notes(found.answer, found.notes, found.unread_keys)


def sentences(found: CapacityResult, run: CapacityRun | None) -> tuple[str, ...]:
    """Return the answer in sentences, without its notes; `run` is the one at the rate found."""
    promise = f"{found.attained_wanted:.0%} of the turns within {_limits(found.limits)}"
    beyond = "" if found.binds is None else _binding(found.binds)
    if found.kind == "none":
        lowest = min(seed.high_per_s for seed in found.seeds if seed.high_per_s is not None)
        lines = [
            f"NO RATE keeps {promise}: not even {lowest:.4g} conversations/s.",
            f"At that rate, {beyond}" if beyond else "",
        ]
    else:
        most = "At least" if found.kind == "at least" else "Up to"
        lines = [f"{most} {found.rate_per_s:.4g} conversations/s keep {promise} ({_interval(found)})."]
        lines.append(f"{found.rate_per_gpu_per_s:.4g} conversations/s per GPU ({found.gpus} GPUs).")
        if run is not None:
            lines[-1] = (
                f"{found.rate_per_gpu_per_s:.4g} conversations/s per GPU ({found.gpus} GPUs);"
                f" {run.turns_per_s:.4g} turns/s, {run.goodput_per_s:.4g} of them good ({run.attained:.1%})."
            )
        if found.kind == "at least":
            lines.append("Every rate that was tried keeps the SLO.")
        elif beyond:
            lines.append(f"At a higher rate, {beyond}")
    return tuple(line for line in lines if line)


def _interval(found: CapacityResult) -> str:
    interval = found.interval_per_s
    high = "no upper end" if interval.high is None else f"{interval.high:.4g}"
    if interval.coverage is None:
        return f"bracket of the search with one seed: {interval.low:.4g} to {high}"
    return f"{interval.low:.4g} to {high}, {basis(parts=0, seeds=len(found.seeds))}, {interval.coverage:.0%}"


def _limits(limits: Mapping[str, float | None]) -> str:
    return ", ".join(f"{NAMES[name]} {value * MS_PER_S:g} ms" for name, value in limits.items() if value is not None)


def _binding(binding: Binding) -> str:
    where = binding.place if binding.node is None else f"{binding.place} of node {binding.node} ({binding.role})"
    spent = "" if binding.seconds is None else f", {format_s(binding.seconds)} on average"
    if binding.limit == "overloaded":
        return f"waits grow for as long as conversations start: {where}{spent}."
    what = "have no answer" if binding.limit == "unanswered" else f"exceed the {NAMES[binding.limit]} limit"
    return f"{binding.share:.1%} of the turns {what}, mostly because of: {where}{spent}."
