"""The comparison of a P arm with an append: which P arm, what P has cached, who decodes on D, what stalls cost.

With a previous answer of o tokens, D holds L tokens and P only the earlier prompts, so a warm P computes m + o tokens
on top of L - o, rounded down to its pages; a cold P computes all L + m.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ppdsim.cost.base import Quantity, maximum
from ppdsim.errors import InputError
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmComparison:
    """One P arm against an append on D.

    `gamma` is the price of one stalled stream-second in seconds of TTFT; `residents` streams of
    `resident_context_tokens` decode on D, and on average `decoding_turns` more under load; `wait_d_s` and `wait_p_s`
    are queueing waits added to the idle TTFT (arrays where they depend on the tokens).
    """

    arm: Arm
    transport: Transport
    previous_output_tokens: int = 0
    cold: bool = False
    gamma: float = 1.0
    residents: int = 4
    resident_context_tokens: int = 2048
    handoff_stall_s: float = 0.0
    decoding_turns: float = 0.0
    wait_d_s: Quantity = 0.0
    wait_p_s: Quantity = 0.0

    def __post_init__(self) -> None:
        if self.arm is Arm.APPEND_D:
            raise InputError(
                f"arm: {self.arm.value}, expected the P arm (p-full or p-delta) that append-d is compared with"
            )
        if self.gamma < 0 or self.residents < 0:
            raise InputError(f"gamma={self.gamma:g}, residents={self.residents}: expected both not negative")

    def with_price_and_residents(self, *, gamma: float | None = None, residents: int | None = None) -> ArmComparison:
        """Return the same comparison at another price or batch."""
        return replace(
            self,
            gamma=self.gamma if gamma is None else gamma,
            residents=self.residents if residents is None else residents,
        )


def cached_on_p(comparison: ArmComparison, cached_tokens: Quantity, page_size_tokens: int) -> Quantity:
    """Return what P has cached of a prompt whose first `cached_tokens` D holds [tokens]."""
    if comparison.cold:
        return cached_tokens * 0.0
    if comparison.previous_output_tokens == 0:
        return cached_tokens
    kept = maximum(cached_tokens - comparison.previous_output_tokens, 0.0)
    pages = kept // page_size_tokens if isinstance(kept, (int, float)) else np.floor(kept / page_size_tokens)
    return pages * float(page_size_tokens)


def ttft_gain_s(model: TurnModel, comparison: ArmComparison, cached_tokens: Quantity, new_tokens: Quantity) -> Quantity:
    """Return TTFT_P - TTFT_D [s], waits included: what a user gains from the append.

    Infinite where one arm waits without end (it is overloaded), NaN where both do.
    """
    on_p = cached_on_p(comparison, cached_tokens, model.on_p.page_size_tokens)
    p = model.handoff_ttft_s(comparison.arm, comparison.transport, cached_tokens, new_tokens, on_p)
    d = model.append_ttft_s(cached_tokens, new_tokens)
    with np.errstate(invalid="ignore"):
        return p + comparison.wait_p_s - d - comparison.wait_d_s


def stall_excess_s(
    model: TurnModel, comparison: ArmComparison, cached_tokens: Quantity, new_tokens: Quantity, streams: Quantity
) -> Quantity:
    """Return S_D - S_P [s] for `streams` resident streams: what each of them loses to the append."""
    s_d = model.stall_s(Arm.APPEND_D, cached_tokens, new_tokens, streams, comparison.resident_context_tokens)
    return s_d - model.stall.handoff_s - comparison.handoff_stall_s


def j_gain_s(model: TurnModel, comparison: ArmComparison, cached_tokens: Quantity, new_tokens: Quantity) -> Quantity:
    """Return J_P - J_D [s]: positive where the append on D is the cheaper arm."""
    streams = comparison.residents + comparison.decoding_turns
    stall = stall_excess_s(model, comparison, cached_tokens, new_tokens, streams)
    return ttft_gain_s(model, comparison, cached_tokens, new_tokens) - comparison.gamma * streams * stall
