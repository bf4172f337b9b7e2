"""r* and m* against the closed forms of model.md section 3, and every legal kind of answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from analytical.closed_forms import ALPHA, L_STAR, WIRE, A, constants
from curve_cases import turn_model

from ppdsim.analytical.crossing import cache_rate_crossing, new_tokens_crossing
from ppdsim.analytical.question import Question
from ppdsim.answers import CrossingKind
from ppdsim.turn import TurnModel
from ppdsim.types import Arm, Transport

FULL = Question(arm=Arm.P_FULL, transport=Transport.TCP)
DELTA = Question(arm=Arm.P_DELTA, transport=Transport.TCP)
S = 400_000
"""A prompt so long that the whole tokens of the scan do not show in the fourth digit."""


def cloud(model: TurnModel, share: float = 0.1) -> TurnModel:
    spread = np.linspace(1 - share, 1 + share, 21)[:, None]
    return replace(model, prefill=replace(model.prefill, token_s=model.prefill.token_s * spread))


def test_r_star_of_a_full_transfer():
    # r* = 1 - [B0 / B_link + (W_P + alpha) / (a S)] / (gamma N), B0 / B_link = wire / a
    model, question = constants(), replace(FULL, residents=2, wait_p_s=0.5)
    expected = 1 - (WIRE / A + (0.5 + ALPHA) / (A * S)) / 2
    found = cache_rate_crossing(model, cloud(model), question, S)
    assert found.kind is CrossingKind.VALUE
    assert found.values[0] == pytest.approx(expected, abs=2 / S)
    assert found.interval.low < expected < found.interval.high


def test_r_star_with_attention_solves_the_same_equation():
    model, question = constants(attention=True), replace(FULL, residents=2)
    rate = cache_rate_crossing(model, cloud(model), question, S).values[-1]
    new = (1 - rate) * S
    # The engine's new tokens attend to each other too, so L/L* of the closed form is (L + m/2)/L*.
    expected = 1 - (WIRE / A + ALPHA / (A * S)) / (2 * (1 + (rate * S + new / 2) / L_STAR))
    assert rate == pytest.approx(expected, abs=4 / S)


def test_r_star_of_a_cold_p_over_a_fast_link():
    model = constants(wire_s_per_token=0.0, alpha_s=0.0)
    for streams in (1, 3, 9):
        question = replace(FULL, cold=True, residents=streams)
        found = cache_rate_crossing(model, cloud(model), question, S)
        assert found.values[-1] == pytest.approx(streams / (1 + streams), abs=2 / S)


@pytest.mark.parametrize("answer", [0, 350])
def test_m_star_of_a_delta_transfer(answer):
    # m* = (W_P + alpha + a o) / (gamma N a - wire)
    model = constants()
    question = replace(DELTA, residents=1, previous_output_tokens=answer, wait_p_s=0.1)
    expected = (0.1 + ALPHA + A * answer) / (A - WIRE)
    found = new_tokens_crossing(model, model_draws(model), question, 50_000)
    # Below the largest captured size the matrix work is that of the next size, so the line lies on a step.
    assert found.values[-1] == pytest.approx(expected, rel=0.08)


def model_draws(model: TurnModel) -> TurnModel:
    return cloud(model, 0.01)


def test_m_star_of_a_slow_delta_link_is_always_d():
    # gamma N a <= kappa / B_link: the denominator of the closed form is not positive.
    model = constants(wire_s_per_token=2 * A)
    found = new_tokens_crossing(model, model_draws(model), replace(DELTA, residents=1), 4096)
    assert (found.kind, found.values, found.interval) == (CrossingKind.ALWAYS_D, (), None)
    assert found.share_without == 1.0


def test_a_free_hand_off_is_always_p():
    model = constants(wire_s_per_token=0.0, alpha_s=0.0)
    found = cache_rate_crossing(model, cloud(model), FULL, 2048)
    assert found.kind is CrossingKind.ALWAYS_P


def test_steps_of_the_captured_sizes_can_cross_several_times():
    model = turn_model()
    kinds = {
        new_tokens_crossing(model, cloud(model), replace(DELTA, residents=n), 4096).kind for n in (2, 3, 4, 5, 6, 8)
    }
    assert CrossingKind.SEVERAL in kinds
    found = next(
        f
        for n in (2, 3, 4, 5, 6, 8)
        for f in [new_tokens_crossing(model, cloud(model), replace(DELTA, residents=n), 4096)]
        if f.kind is CrossingKind.SEVERAL
    )
    assert list(found.values) == sorted(found.values)
    assert found.interval.low <= found.interval.value <= found.interval.high


def test_the_share_of_draws_without_a_crossing_is_counted():
    model = constants(wire_s_per_token=0.98 * A)
    found = new_tokens_crossing(model, cloud(model), replace(DELTA, residents=1), 4096)
    assert 0.0 < found.share_without < 1.0
