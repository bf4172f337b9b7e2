"""The SLO form of the decision: the smallest TTFT whose stall gap keeps the residents' ITL within a budget.

minimise TTFT subject to stall_gap_s <= ITL budget (docs/explanation/model.md, "The decision"). A hand-off opens no
measured gap beyond S_P.
"""

from __future__ import annotations

import numpy as np

from ppdsim.analytical.arm_comparison import ArmComparison, ttft_gain_s
from ppdsim.analytical.crossing import LARGEST_NEW_TOKENS
from ppdsim.turn import TurnModel
from ppdsim.types import Arm


def slo_arm(
    model: TurnModel, comparison: ArmComparison, cached_tokens: float, new_tokens: float, itl_budget_s: float
) -> Arm:
    """Return the arm with the smaller TTFT among those that keep `itl_budget_s`; the P arm if the append breaks it."""
    gap = 0.0
    if comparison.residents:
        gap = float(
            model.stall_gap_s(
                cached_tokens, new_tokens, float(comparison.residents), comparison.resident_context_tokens
            )
        )
    faster = float(ttft_gain_s(model, comparison, cached_tokens, new_tokens)) >= 0.0
    return Arm.APPEND_D if faster and gap <= itl_budget_s else comparison.arm


def largest_append_tokens(
    model: TurnModel, comparison: ArmComparison, cached_tokens: float, itl_budget_s: float
) -> int:
    """Return the largest append [tokens] whose stall gap stays within the budget; 0 if none does."""
    if not comparison.residents:
        return LARGEST_NEW_TOKENS
    new = np.arange(1.0, LARGEST_NEW_TOKENS + 1.0)
    gap = np.asarray(
        model.stall_gap_s(
            np.full_like(new, cached_tokens), new, float(comparison.residents), comparison.resident_context_tokens
        )
    )
    fits = np.flatnonzero(gap > itl_budget_s)
    return LARGEST_NEW_TOKENS if not len(fits) else int(new[fits[0]]) - 1
