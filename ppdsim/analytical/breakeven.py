"""N*, the number of streams on D below which an append there is cheaper; gamma*, the price at which J is equal.

N* solves ``gamma N (S_D(N) - S_P) = TTFT_P - TTFT_D``. S_D grows slowly with N, because a longer step hides less of the
append's launch, so the left side rises and the root is unique; where S_D does not depend on N this is the quotient of
model.md, "The decision". The case says how to read the number.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from ppdsim.analytical.arm_comparison import ArmComparison, stall_excess_s, ttft_gain_s
from ppdsim.cost.base import Array, Quantity
from ppdsim.turn import TurnModel

MOST_STREAMS = 1e5
"""Largest N that the search considers [streams]; beyond any batch an engine runs."""
BISECTIONS = 48
"""Halvings of [0, MOST_STREAMS]: leaves 4e-10 streams."""


class Case(str, Enum):
    """How N* is to be read (model.md, "The decision")."""

    BELOW = "D wins while fewer than N* streams decode on D"
    ABOVE = "D wins while more than N* streams decode on D"
    ALWAYS_D = "D wins at any number of streams"
    ALWAYS_P = "P wins at any number of streams"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """N* of one (cached_tokens, new_tokens): infinite for ALWAYS_D, 0 for ALWAYS_P."""

    streams: float
    case: Case


def break_even(model: TurnModel, comparison: ArmComparison, cached_tokens: float, new_tokens: float) -> BreakEven:
    """Return N* and its case for one turn; `model` holds floats."""
    gain = float(ttft_gain_s(model, comparison, cached_tokens, new_tokens))
    many = float(stall_excess_s(model, comparison, cached_tokens, new_tokens, MOST_STREAMS)) * comparison.gamma
    if many <= 0.0:
        if gain >= 0.0:
            return BreakEven(streams=float("inf"), case=Case.ALWAYS_D)
        if many == 0.0:
            return BreakEven(streams=0.0, case=Case.ALWAYS_P)
        return BreakEven(streams=gain / many, case=Case.ABOVE)
    if gain <= 0.0:
        return BreakEven(streams=0.0, case=Case.ALWAYS_P)
    streams = float(break_even_streams(model, comparison, np.array([cached_tokens]), np.array([new_tokens]))[0])
    return BreakEven(streams=streams, case=Case.BELOW if streams < float("inf") else Case.ALWAYS_D)


def break_even_streams(model: TurnModel, comparison: ArmComparison, cached_tokens: Array, new_tokens: Array) -> Array:
    """Return N* [streams], vectorised: shape of the broadcast tokens, with a leading draws axis if `model` has draws.

    Infinite where D wins at any number, 0 where P does. A turn whose append costs residents less than the hand-off
    (S_D < S_P) has no upper break-even: it counts as infinite if the append also gains TTFT, else as 0; `break_even`
    names that case.
    """
    gain = np.asarray(ttft_gain_s(model, comparison, cached_tokens, new_tokens), dtype=np.float64)
    forward = model.prefill.seconds(new_tokens, cached_tokens, model.chunked_prefill_size)
    hand_off = model.stall.handoff_s + comparison.handoff_stall_s

    def loss(streams: Quantity) -> Array:
        step = model.decode.step_s(streams, streams * comparison.resident_context_tokens)
        return np.asarray(comparison.gamma * streams * (model.append_stall_s(forward, step) - hand_off))

    low = np.zeros_like(gain)
    high = np.full_like(gain, MOST_STREAMS)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        under = loss(middle) < gain
        low = np.where(under, middle, low)
        high = np.where(under, high, middle)
    streams = 0.5 * (low + high)
    return np.where(gain <= 0.0, 0.0, np.where(loss(np.full_like(gain, MOST_STREAMS)) < gain, np.inf, streams))


def break_even_price(
    model: TurnModel, comparison: ArmComparison, cached_tokens: Quantity, new_tokens: Quantity
) -> Quantity:
    """Return gamma* at the comparison's batch: D wins while a stalled stream-second costs less than this.

    Infinite where the append costs the residents nothing (or there are none) and still gains TTFT.
    """
    gain = np.asarray(ttft_gain_s(model, comparison, cached_tokens, new_tokens))
    excess = stall_excess_s(model, comparison, cached_tokens, new_tokens, float(comparison.residents))
    loss = np.asarray(comparison.residents * excess)
    with np.errstate(divide="ignore", invalid="ignore"):
        price = gain / loss
    return np.where(loss > 0.0, price, np.where(gain >= 0.0, np.inf, 0.0))
