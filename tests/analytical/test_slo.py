"""The SLO form: the budget bounds the gap, TTFT decides the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from curve_cases import turn_model

from ppdsim.analytical.arm_comparison import ArmComparison, ttft_gain_s
from ppdsim.analytical.slo import largest_append_tokens, slo_arm
from ppdsim.types import Arm, Transport

COMPARISON = ArmComparison(arm=Arm.P_FULL, transport=Transport.TCP, residents=8)


def test_a_generous_budget_takes_the_faster_arm():
    assert slo_arm(turn_model(), COMPARISON, 4096.0, 1024.0, 1.0) is Arm.APPEND_D


def test_a_tight_budget_sends_the_turn_to_p():
    assert slo_arm(turn_model(), COMPARISON, 4096.0, 1024.0, 10e-3) is Arm.P_FULL


def test_a_faster_p_wins_whatever_the_budget():
    busy = replace(COMPARISON, wait_d_s=10.0)
    assert slo_arm(turn_model(), busy, 4096.0, 1024.0, 1.0) is Arm.P_FULL


def test_the_largest_append_fits_and_the_next_does_not():
    model = turn_model()
    budget_s = 40e-3
    largest = largest_append_tokens(model, COMPARISON, 4096.0, budget_s)
    assert model.stall_gap_s(4096.0, float(largest), 8.0, 2048.0) <= budget_s
    assert model.stall_gap_s(4096.0, float(largest + 1), 8.0, 2048.0) > budget_s


def test_without_residents_nothing_is_stalled():
    assert largest_append_tokens(turn_model(), replace(COMPARISON, residents=0), 0.0, 1e-6) == 32_768


def test_a_budget_below_a_step_fits_no_append():
    assert largest_append_tokens(turn_model(), COMPARISON, 4096.0, 1e-3) == 0


def test_ttft_decides_by_however_little():
    """P is faster by a tenth of a second or less: it takes the turn, whatever the budget."""
    model = turn_model()
    gain_s = float(ttft_gain_s(model, COMPARISON, 4096.0, 1024.0))
    just_slower = replace(COMPARISON, wait_d_s=gain_s + 1e-6)
    assert slo_arm(model, just_slower, 4096.0, 1024.0, 1.0) is Arm.P_FULL
    just_faster = replace(COMPARISON, wait_d_s=gain_s - 1e-6)
    assert slo_arm(model, just_faster, 4096.0, 1024.0, 1.0) is Arm.APPEND_D


def test_a_budget_is_kept_at_equality():
    model = turn_model()
    gap_s = float(model.stall_gap_s(4096.0, 1024.0, 8.0, COMPARISON.resident_context_tokens))
    assert slo_arm(model, COMPARISON, 4096.0, 1024.0, gap_s) is Arm.APPEND_D
    assert slo_arm(model, COMPARISON, 4096.0, 1024.0, np.nextafter(gap_s, 0.0)) is Arm.P_FULL
    # Nobody is stalled where nobody decodes.
    assert slo_arm(model, COMPARISON.with_price_and_residents(residents=0), 4096.0, 1024.0, 0.0) is Arm.APPEND_D
