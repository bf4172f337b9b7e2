"""One turn's TTFT per arm, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from curve_cases import DECODE, FRONTEND, HANDOFF, PREFILL, STALL, turn_model
from hypothesis import given
from hypothesis import strategies as st

from ppdsim.errors import ProfileError
from ppdsim.types import Arm, Transport

FLAT = replace(PREFILL, attention_s_per_token2=0.0, kv_read_s_per_token=0.0, overlap_sharpness=20.0)


def test_append_ttft_by_hand():
    expected = 3e-3 + 0.2e-6 * 5120 + PREFILL.seconds(1024.0, 4096.0, 8192) + 1e-3
    assert turn_model().append_ttft_s(4096.0, 1024.0) == pytest.approx(expected, rel=1e-12)


SEND = 2e-3
"""`send_s` of the hand-off [s]."""


def test_full_hand_off_with_the_prefix_sent_beside_the_forward():
    # before: 8 + 6 x 4096/4352 ms; early wire 4096 x 90 us outlasts the forward; then 1024 x 90 us; join 1 ms.
    before = 8e-3 + 6e-3 * 4096 / (4096 + 256)
    expected = 3e-3 + 0.2e-6 * 5120 + before + 4096 * 90e-6 + SEND + 1024 * 90e-6 + SEND + 1e-3 + 1e-3
    assert turn_model().handoff_ttft_s(Arm.P_FULL, Transport.TCP, 4096.0, 1024.0) == pytest.approx(expected, rel=1e-12)


def test_delta_hand_off_sends_only_what_d_lacks():
    # D holds 4096, so a token costs 70 + 20 x 1024/(1024 + 4096) us.
    wire = 1024 * (70e-6 + 20e-6 * 1024 / 5120)
    before = 8e-3 + 6e-3 * 4096 / (4096 + 256)
    forward = PREFILL.seconds(1024.0, 4096.0, 8192)
    expected = 3e-3 + 0.2e-6 * 5120 + before + forward + wire + SEND + 2e-3
    found = turn_model().handoff_ttft_s(Arm.P_DELTA, Transport.TCP, 4096.0, 1024.0)
    assert found == pytest.approx(expected, rel=1e-12)


def test_without_early_send_the_prefix_travels_with_the_first_chunk():
    late = turn_model(handoffs={(Arm.P_FULL, Transport.TCP): replace(HANDOFF, early_share=0.0)})
    before = 8e-3 + 6e-3 * 4096 / (4096 + 256)
    forward = PREFILL.seconds(1024.0, 4096.0, 8192)
    expected = 3e-3 + 0.2e-6 * 5120 + before + forward + 5120 * 90e-6 + SEND + 2e-3
    assert late.handoff_ttft_s(Arm.P_FULL, Transport.TCP, 4096.0, 1024.0) == pytest.approx(expected, rel=1e-12)


def test_an_assumed_link_replaces_the_wire_and_nothing_else():
    assumed = turn_model().with_link(2e9)
    wire_s = turn_model().kv_bytes_per_token / 2e9
    before = 8e-3 + 6e-3 * 4096 / (4096 + 256)
    forward = PREFILL.seconds(1024.0, 4096.0, 8192)
    # The early prefix is done or still under way when the forward ends; either way the chunk follows.
    sent = max(4096 * wire_s + SEND, forward) + 1024 * wire_s + SEND
    expected = 3e-3 + 0.2e-6 * 5120 + before + sent + 2e-3
    assert assumed.handoff_ttft_s(Arm.P_FULL, Transport.TCP, 4096.0, 1024.0) == pytest.approx(expected, rel=1e-12)
    assert assumed.append_ttft_s(4096.0, 1024.0) == turn_model().append_ttft_s(4096.0, 1024.0)


def test_a_chunk_leaves_at_the_end_of_the_next_one_and_overlaps_with_the_one_after_it():
    # Chunks of 8192, 8192 and 3616 tokens; the first chunk's KV (737 ms) outlasts the third forward.
    first = FLAT.forward_s(FLAT.work(8192.0, 0.0))
    second = FLAT.forward_s(FLAT.work(8192.0, 8192.0), further=True)
    assert FLAT.forward_s(FLAT.work(3616.0, 16_384.0)) < 8192 * 90e-6
    expected = 3e-3 + 0.2e-6 * 20_000 + 8e-3 + first + second + 20_000 * 90e-6 + 3 * SEND + 2e-3
    model = turn_model(prefill=FLAT)
    assert model.handoff_ttft_s(Arm.P_FULL, Transport.TCP, 0.0, 20_000.0) == pytest.approx(expected, rel=1e-12)


def test_two_chunks_are_sent_when_both_are_computed():
    first = FLAT.forward_s(FLAT.work(8192.0, 0.0))
    second = FLAT.forward_s(FLAT.work(1808.0, 8192.0), further=True)
    expected = 3e-3 + 0.2e-6 * 10_000 + 8e-3 + first + second + 10_000 * 90e-6 + 2 * SEND + 2e-3
    model = turn_model(prefill=FLAT)
    assert model.handoff_ttft_s(Arm.P_FULL, Transport.TCP, 0.0, 10_000.0) == pytest.approx(expected, rel=1e-12)


def test_over_a_fast_link_results_and_sends_delay_the_third_chunk():
    """The first result is handled when the second chunk ends (1 ms); the first send (2 ms) still slows the launch."""
    fast = replace(HANDOFF, wire_s_per_token=0.0, fresh_wire_s_per_token=0.0)
    model = turn_model(prefill=FLAT, handoffs={(Arm.P_FULL, Transport.TCP): fast})
    first = FLAT.forward_s(FLAT.work(8192.0, 0.0))
    others = [FLAT.forward_s(FLAT.work(n, start), further=True) for n, start in ((8192.0, 8192.0), (3616.0, 16_384.0))]
    # The second chunk leaves at the end of the third, whose own KV waits for that send.
    forwards = first + sum(others) + 1e-3 + 1.5e-3
    expected = 3e-3 + 0.2e-6 * 20_000 + 8e-3 + forwards + 2 * SEND + 2e-3
    assert model.handoff_ttft_s(Arm.P_FULL, Transport.TCP, 0.0, 20_000.0) == pytest.approx(expected, rel=1e-12)


def test_a_cold_p_computes_the_whole_prompt():
    cold = turn_model().handoff_ttft_s(Arm.P_DELTA, Transport.TCP, 4096.0, 1024.0, 0.0)
    wire = 1024 * (70e-6 + 20e-6 * 1024 / 5120)
    expected = 3e-3 + 0.2e-6 * 5120 + 8e-3 + PREFILL.seconds(5120.0, 0.0, 8192) + wire + SEND + 2e-3
    assert cold == pytest.approx(expected, rel=1e-12)


def test_p_that_lacks_the_previous_answer_computes_it_but_a_delta_does_not_send_it():
    model = turn_model()
    without = model.handoff_ttft_s(Arm.P_DELTA, Transport.TCP, 4096.0, 1024.0, 4096.0 - 320.0)
    wire = 1024 * (70e-6 + 20e-6 * 1024 / 5120)
    before = 8e-3 + 6e-3 * 3776 / (3776 + 256)
    expected = 3e-3 + 0.2e-6 * 5120 + before + PREFILL.seconds(1344.0, 3776.0, 8192) + wire + SEND + 2e-3
    assert without == pytest.approx(expected, rel=1e-12)


@given(
    cached=st.integers(0, 32_768),
    new=st.integers(1, 20_000),
    arm=st.sampled_from([Arm.APPEND_D, Arm.P_FULL, Arm.P_DELTA]),
)
def test_vectorised_is_scalar(cached, new, arm):
    model = turn_model()
    transport = Transport.NONE if arm is Arm.APPEND_D else Transport.TCP
    one = model.ttft_s(arm, transport, float(cached), float(new))
    many = model.ttft_s(arm, transport, np.array([float(cached), 5.0]), np.array([float(new), 7.0]))
    assert many[0] == pytest.approx(one, rel=1e-12)


@given(cached=st.integers(0, 32_768), new=st.integers(1, 20_000))
def test_a_delta_is_never_slower_than_a_full_transfer_of_the_same_link(cached, new):
    model = turn_model()
    full = model.handoff_ttft_s(Arm.P_FULL, Transport.TCP, float(cached), float(new))
    delta = model.handoff_ttft_s(Arm.P_DELTA, Transport.TCP, float(cached), float(new))
    assert delta <= full + 1e-12


def test_an_arm_that_the_profile_lacks_is_named():
    with pytest.raises(ProfileError, match="no hand-off curve for p-full over rdma .it has: p-delta:tcp, p-full:tcp"):
        turn_model().ttft_s(Arm.P_FULL, Transport.RDMA, 0.0, 1.0)


def test_parts_are_the_curves_that_were_given():
    model = turn_model()
    assert (model.decode, model.stall, model.frontend) == (DECODE, STALL, FRONTEND)


@pytest.mark.parametrize(("step_s", "wait_s"), [(6e-3, 6e-3), (2e-3, 1e-3)])
def test_an_append_waits_half_a_step_and_for_the_next_one_beyond_its_preparation(step_s, wait_s):
    """A step of 6 ms hides the 3 ms of preparation: 3 + 6 - 3. One of 2 ms hides 2 of them: 1 + 2 - 2."""
    assert turn_model().step_wait_s(Arm.APPEND_D, step_s) == pytest.approx(wait_s)


def test_a_hand_off_waits_for_two_looks_of_the_scheduler():
    assert turn_model().step_wait_s(Arm.P_DELTA, 6e-3) == pytest.approx(6e-3)
    assert turn_model().step_wait_s(Arm.P_FULL, 2e-3) == pytest.approx(2e-3)


@pytest.mark.parametrize(("arm", "tokens", "held"), [(Arm.P_FULL, 5120.0, 0.0), (Arm.P_DELTA, 1024.0, 4096.0)])
def test_the_wire_is_busy_for_what_d_lacks(arm, tokens, held):
    expected = tokens * (70e-6 + 20e-6 * tokens / (tokens + held)) + SEND
    found = turn_model().wire_s(arm, Transport.TCP, 4096.0, 1024.0)
    assert found == pytest.approx(expected, rel=1e-12)
    assert found == pytest.approx(float(HANDOFF.wire_s(tokens, held)), rel=1e-12)


def test_the_largest_gap_is_a_step_of_all_streams_and_the_stall():
    model = turn_model()
    step_s = float(DECODE.step_s(8.0, 8.0 * 2048.0))
    forward_s = float(PREFILL.seconds(1024.0, 4096.0, 8192))
    expected = step_s + float(STALL.append_s(forward_s, step_s))
    assert float(model.stall_gap_s(4096.0, 1024.0, 8.0, 2048.0)) == pytest.approx(expected, rel=1e-12)
