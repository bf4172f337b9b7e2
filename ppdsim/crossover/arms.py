"""One arm over the cache rate at a fixed prompt: TTFT and stall with their bands, waits, J."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppdsim import compose
from ppdsim.analytical.arm_comparison import ArmComparison, cached_on_p
from ppdsim.answers import ArmChoice, ArmCurve
from ppdsim.cost.base import Array
from ppdsim.crossover.plan import Plan, tokens_at
from ppdsim.metrics import interval_90
from ppdsim.points import Point
from ppdsim.predict import extrapolated
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport


def choice_of(comparison: ArmComparison | None) -> ArmChoice:
    """Return the arm's name; None is the append on D."""
    if comparison is None:
        return ArmChoice(arm=Arm.APPEND_D.value, transport=Transport.NONE.value)
    return ArmChoice(arm=comparison.arm.value, transport=comparison.transport.value)


def is_extrapolated(plan: Plan, comparison: ArmComparison | None, cached_tokens: float, new_tokens: float) -> bool:
    """Return whether the append at (cached, new), or the P arm, is outside the measured domain or unmeasured."""
    asked: list[tuple[Arm, Transport, float | None]] = [(Arm.APPEND_D, Transport.NONE, None)]
    if comparison is not None:
        on_p = float(np.asarray(cached_on_p(comparison, cached_tokens, plan.central.on_p.page_size_tokens)))
        asked.append((comparison.arm, comparison.transport, on_p))
    if comparison is not None and plan.scenario.link_bytes_per_s is not None:
        return True
    return any(
        extrapolated(
            plan.profile_of(arm),
            Point(
                kind="prefill",
                arm=arm,
                transport=transport,
                cached_tokens=cached_tokens,
                new_tokens=new_tokens,
                batch=0.0,
                context_tokens=0.0,
                prefill_cached_tokens=on_p,
                source={},
            ),
        )
        for arm, transport, on_p in asked
    )


def arm_curve(plan: Plan, comparison: ArmComparison | None, total_tokens: int, rates: Sequence[float]) -> ArmCurve:
    """Return one arm over the cache rate at a fixed prompt: idle TTFT and stall with bands, waits, J.

    The append (comparison None) is the same whatever the P arm; its wait is that of the append in front of D.
    """
    pairs = [tokens_at(total_tokens, rate) for rate in rates]
    cached = np.array([pair[0] for pair in pairs], dtype=np.float64)
    new = np.array([pair[1] for pair in pairs], dtype=np.float64)
    asked = comparison or plan.comparisons[0]
    loaded = plan.loaded(asked, cached, new)
    arm = Arm.APPEND_D if comparison is None else comparison.arm
    transport = Transport.NONE if comparison is None else comparison.transport
    on_p = cached_on_p(asked, cached, plan.central.on_p.page_size_tokens)
    ttft = np.asarray(plan.central.ttft_s(arm, transport, cached, new, on_p))
    samples = np.asarray(plan.samples.ttft_s(arm, transport, cached, new, on_p))
    band = compose.band(samples, compose.misfit_of(plan.profile_of(arm), "prefill", arm, transport))
    batches = plan.slider_residents
    stalls = [_stall(plan, arm, cached, new, streams) for streams in batches]
    stall, stall_low, stall_high = stalls[batches.index(plan.grid.residents)]
    wait = np.asarray(loaded.wait_d_s if comparison is None else loaded.wait_p_s)
    # What is overloaded has no J.
    carried_wait = np.where(np.isfinite(wait), wait, np.nan)
    j = ttft + carried_wait + plan.grid.gamma * (plan.grid.residents + loaded.decoding_turns) * stall
    return ArmCurve(
        arm=choice_of(comparison),
        total_tokens=total_tokens,
        previous_output_tokens=0 if comparison is None else comparison.previous_output_tokens,
        prefill_cache=plan.grid.prefill_cache,
        cache_rate=tuple(c / total_tokens for c in cached.tolist()),
        cached_tokens=tuple(int(c) for c in cached),
        new_tokens=tuple(int(m) for m in new),
        extrapolated=tuple(is_extrapolated(plan, comparison, float(c), float(m)) for c, m in pairs),
        ttft_s=tuple(ttft.tolist()),
        ttft_low_s=tuple(band.low.tolist()),
        ttft_high_s=tuple(band.high.tolist()),
        stall_s=tuple(stall.tolist()),
        stall_low_s=tuple(stall_low.tolist()),
        stall_high_s=tuple(stall_high.tolist()),
        wait_s=tuple(wait.tolist()),
        j_s=tuple(j.tolist()),
        slider_residents=batches,
        slider_stall_s=tuple(tuple(central.tolist()) for central, _, _ in stalls),
        slider_stall_low_s=tuple(tuple(low.tolist()) for _, low, _ in stalls),
        slider_stall_high_s=tuple(tuple(high.tolist()) for _, _, high in stalls),
    )


def _stall(plan: Plan, arm: Arm, cached: Array, new: Array, streams: int) -> tuple[Array, Array, Array]:
    """Return what each of `streams` residents loses [s] with its 90 % band, each of shape (cache rates,)."""

    def stall_of(model: TurnModel) -> Array:
        found = model.stall_s(arm, cached, new, float(streams), plan.grid.resident_context_tokens)
        return np.asarray(np.atleast_2d(found) + 0.0 * cached)

    central, samples = stall_of(plan.central)[0], stall_of(plan.samples)
    low, high = interval_90(samples, axis=0)
    return central, low, high
