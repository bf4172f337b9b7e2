"""The two stall quantities of model.md, "Stall", which must never be mixed."""

from __future__ import annotations

import pytest
from curve_cases import STALL, turn_model

from ppdsim.types import Arm


def test_launch_hides_only_as_far_as_it_outlasts_the_step():
    assert STALL.append_s(50e-3, 6e-3) == pytest.approx(50e-3 - (10e-3 - 6e-3))
    assert STALL.append_s(50e-3, 12e-3) == pytest.approx(50e-3)


def test_a_stall_is_never_negative():
    assert STALL.append_s(1e-3, 2e-3) == 0.0


def test_the_gap_is_the_loss_and_one_step():
    model = turn_model()
    gap = model.stall_gap_s(4096.0, 256.0, 8.0, 2048.0)
    loss = model.stall_s(Arm.APPEND_D, 4096.0, 256.0, 8.0, 2048.0)
    assert gap - loss == pytest.approx(model.decode.step_s(8.0, 8 * 2048.0), rel=1e-12)
    assert loss < model.prefill.seconds(256.0, 4096.0, 8192)


def test_a_hand_off_costs_residents_what_the_profile_assumes():
    assert turn_model().stall_s(Arm.P_FULL, 4096.0, 256.0, 8.0, 2048.0) == 0.0
