"""A capacity as one paragraph, and as what the result file holds."""

from __future__ import annotations

import math
from dataclasses import asdict

from ppdsim.capacity.probe import Probe
from ppdsim.capacity.run import CapacityAnswer
from ppdsim.capacity.search import Kind
from ppdsim.capacity_result import Binding, CapacityResult, CapacityRun, CapacitySeed, RateInterval
from ppdsim.metrics import SloLimits
from ppdsim.results import not_read
from ppdsim.simulation.replicates import basis
from ppdsim.units import MS_PER_S, format_s

NAMES = {"ttft_s": "TTFT", "tpot_s": "TPOT", "itl_max_s": "longest ITL"}


def sentence(answer: CapacityAnswer) -> str:
    """Return the answer in words, a line each, with its notes."""
    notes = (f"note: {note}" for note in answer.notes)
    return "\n".join([*sentences(answer), *notes, *not_read(answer.unread_keys)])


def sentences(answer: CapacityAnswer) -> list[str]:
    """Return the answer in sentences, without its notes."""
    promise = f"{answer.wanted:.0%} of the turns within {_limits(answer.limits)}"
    beyond = "" if answer.binding is None else _binding(answer.binding)
    if answer.kind is Kind.NONE:
        lowest = min(seed.found.high for seed in answer.seeds)
        lines = [
            f"NO RATE keeps {promise}: not even {lowest:.4g} conversations/s.",
            f"At that rate, {beyond}" if beyond else "",
        ]
    else:
        rate, probe = answer.rate_per_s, answer.probe
        most = "At least" if answer.kind is Kind.AT_LEAST else "Up to"
        lines = [f"{most} {rate:.4g} conversations/s keep {promise} ({_interval(answer)})."]
        lines.append(f"{rate / answer.gpus:.4g} conversations/s per GPU ({answer.gpus} GPUs).")
        if probe is not None:
            lines[-1] = (
                f"{rate / answer.gpus:.4g} conversations/s per GPU ({answer.gpus} GPUs);"
                f" {probe.turns_per_s:.4g} turns/s, {probe.goodput_per_s:.4g} of them good ({probe.attained:.1%})."
            )
        if answer.kind is Kind.AT_LEAST:
            lines.append("Every rate that was tried keeps the SLO.")
        elif beyond:
            lines.append(f"At a higher rate, {beyond}")
    return [line for line in lines if line]


def document(answer: CapacityAnswer) -> CapacityResult:
    """Return the answer with every run behind it, as the result file holds it."""
    probe = answer.probe
    return CapacityResult(
        answer=tuple(sentences(answer)),
        kind=answer.kind.value,
        limits=asdict(answer.limits),
        attained_wanted=answer.wanted,
        rate_per_s=answer.rate_per_s,
        rate_per_gpu_per_s=answer.rate_per_s / answer.gpus,
        interval_per_s=RateInterval(
            low=answer.low_per_s,
            high=_finite(answer.high_per_s),
            over="bracket" if len(answer.seeds) == 1 else "seeds",
            coverage=_coverage(answer),
        ),
        turns_per_s=None if probe is None else probe.turns_per_s,
        goodput_per_s=None if probe is None else probe.goodput_per_s,
        goodput_per_gpu_per_s=None if probe is None else probe.goodput_per_s / answer.gpus,
        gpus=answer.gpus,
        binds=answer.binding,
        tolerance=answer.tolerance,
        seeds=tuple(
            CapacitySeed(
                seed=seed.seed,
                kind=seed.found.kind.value,
                low_per_s=seed.found.low,
                high_per_s=_finite(seed.found.high),
                runs=tuple(_run(probe) for probe in seed.probes),
            )
            for seed in answer.seeds
        ),
        notes=answer.notes,
        provenance=dict(answer.provenance),
        unread_keys=answer.unread_keys,
    )


def _run(probe: Probe) -> CapacityRun:
    return CapacityRun(
        rate_per_s=probe.rate_per_s,
        label=probe.label,
        turns=probe.turns,
        counted=probe.counted,
        window_s=probe.window_s,
        life_s=_finite(probe.life_s),
        turns_per_s=probe.turns_per_s,
        goodput_per_s=probe.goodput_per_s,
        attained=probe.attained,
        binding=probe.binding,
        kept=probe.kept,
    )


def _coverage(answer: CapacityAnswer) -> float | None:
    """Return how probably the interval holds the median capacity; None of one seed."""
    count = len(answer.seeds)
    return 1.0 - 2.0 ** (1 - count) if count > 1 else None


def _interval(answer: CapacityAnswer) -> str:
    high = "no upper end" if math.isinf(answer.high_per_s) else f"{answer.high_per_s:.4g}"
    coverage = _coverage(answer)
    if coverage is None:
        return f"bracket of the search with one seed: {answer.low_per_s:.4g} to {high}"
    return f"{answer.low_per_s:.4g} to {high}, {basis(parts=0, seeds=len(answer.seeds))}, {coverage:.0%}"


def _limits(limits: SloLimits) -> str:
    values = ((name, getattr(limits, name)) for name in NAMES)
    return ", ".join(f"{NAMES[name]} {value * MS_PER_S:g} ms" for name, value in values if value is not None)


def _binding(binding: Binding) -> str:
    where = binding.place if binding.node is None else f"{binding.place} of node {binding.node} ({binding.role})"
    spent = "" if binding.seconds is None else f", {format_s(binding.seconds)} on average"
    if binding.limit == "overloaded":
        return f"waits grow for as long as conversations start: {where}{spent}."
    what = "have no answer" if binding.limit == "unanswered" else f"exceed the {NAMES[binding.limit]} limit"
    return f"{binding.share:.1%} of the turns {what}, mostly because of: {where}{spent}."


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
