"""The ratio of what a unified server keeps back: its start, its decay and what a retraction makes of it."""

from __future__ import annotations

import pytest

from ppdsim.engines.sglang.scheduler.new_token_ratio import NewTokenRatio


def test_the_ratio_falls_from_seven_tenths_to_its_least_in_600_steps():
    ratio = NewTokenRatio(1.0)
    assert ratio.at(0) == pytest.approx(0.7)
    assert ratio.at(300) == pytest.approx(0.7 - 0.5 * (0.7 - 0.098))
    assert ratio.at(600) == pytest.approx(0.098)
    assert ratio.at(10_000) == pytest.approx(0.098)
    ratio.reset(10_000)
    assert ratio.at(10_001) == pytest.approx(0.7 - 0.602 / 600)


@pytest.mark.parametrize(
    ("schedule_conservativeness", "first", "least"), [(0.0, 0, 0), (0.5, 0.35, 0.049), (3, 1, 0.14)]
)
def test_conservativeness_scales_the_ratio_up_to_one(schedule_conservativeness, first, least):
    ratio = NewTokenRatio(schedule_conservativeness)
    assert ratio.at(0) == pytest.approx(first)
    assert ratio.at(10**6) == pytest.approx(least)


def test_a_retraction_makes_room_for_twenty_steps_of_those_who_stay():
    ratio = NewTokenRatio(1.0)
    ratio.retracted(generated_tokens=30, max_new_tokens=199, streams=2, steps=50)
    # (30 + 20 * 2) / (199 + 1); the step that is launched at once takes nothing off.
    assert ratio.at(51) == pytest.approx(0.35)
    assert ratio.at(52) == pytest.approx(0.35 - 0.602 / 600)
    ratio.retracted(generated_tokens=30, max_new_tokens=10, streams=2, steps=60)
    assert ratio.at(61) == 1.0
