"""Timelines worked out by hand; the closed form and the step-by-step simulation both have to give them.

Costs, unless one says otherwise: a forward takes 10 ms and 0.1 ms a new token (new tokens are padded to the captured
sizes 64, 80, 128, 256), a decode step 10 ms, and 1 ms more on a node that takes hand-offs. A hand-off has a handshake
of 5 ms, 0.2 ms of wire a token after the forward, and 2 ms from the last byte to the batch. Pages hold 16 tokens. The
client and the front end take no time. Unless one says so the scheduler does not launch ahead, so nothing is hidden;
what waits on a P that runs a forward when KV has arrived has `router_awaits_prefill` off, but for the test of it. Times
in ms.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from des.costs import cost_model, fleet, talk

from ppdsim.des.cluster import run_cluster
from ppdsim.routing import AlwaysP, Threshold
from ppdsim.types import Arm, Transport

MODEL = cost_model(
    prefill={
        "floor_s": 0.010,
        "token_s": 1e-4,
        "attention_s_per_token2": 0.0,
        "kv_read_s_per_token": 0.0,
        "further_share": 0.0,
    },
    decode={"floor_s": 0.010, "row_s": 0.0, "context_s_per_token": 0.0, "start_s": 0.001},
    stall={"launch_s": 0.0, "handoff_s": 0.0},
    frontend={"in_s": 0.0, "in_s_per_token": 0.0, "out_s": 0.0},
    link={
        "handshake_s": 0.005,
        "prefix_s": 0.0,
        "wire_s_per_token": 2e-4,
        "fresh_wire_s_per_token": 0.0,
        "early_share": 0.0,
        "join_s": 0.002,
    },
)


@pytest.fixture(params=[False, True], ids=["closed form", "per step"])
def per_step(request):
    return request.param


def columns(results, *names):
    return [np.asarray(results.turns[name]) * 1e3 for name in names]


def test_an_append_stalls_the_stream_that_decodes_and_reuses_whole_pages(per_step):
    """One U.

    A0 (128 new, 5 out) arrives at 0: forward 10 + 12.8 -> first token 22.8, then 32.8, 42.8.
    B0 (64 new, 2 out) arrives at 35, in the step that ends at 42.8: forward 10 + 6.4 -> first token 59.2.
        A is one stream that loses 16.4, so its fourth token comes with B's second at 69.2 (B ends), its fifth at 79.2.
    A1 (64 new, 2 out) is thought about for 20: arrives at 99.2 with a prompt of 128 + 5 + 64 = 197. U holds
        128 + 5 - 1 = 132 tokens, which is 8 whole pages: 128 cached, 69 new, padded to 80: forward 10 + 8 = 18
        -> first token 117.2, second 127.2.
    """
    spec = fleet("U", MODEL, overlap_schedule=False, per_step=per_step)
    results = run_cluster(spec, [talk("a", 0.0, (128, 5), (64, 2, 0.020)), talk("b", 0.035, (64, 2))], AlwaysP())
    first, last, lost = columns(results, "t_first_token_s", "t_last_token_s", "resident_stall_s")
    np.testing.assert_allclose(first, [22.8, 117.2, 59.2], rtol=1e-9)
    np.testing.assert_allclose(last, [79.2, 127.2, 69.2], rtol=1e-9)
    np.testing.assert_allclose(lost, [0.0, 0.0, 16.4], atol=1e-9)
    assert results.turns["cached_tokens"].tolist() == [0, 128, 0]
    assert results.turns["new_tokens"].tolist() == [128, 69, 64]
    # A's gaps: 10, 10, 10 + 16.4, 10.
    np.testing.assert_allclose(results.turns["itl_max_s"] * 1e3, [26.4, 10.0, 10.0], rtol=1e-9)


def test_two_hand_offs_queue_for_the_forward_and_for_the_link(per_step):
    """One P and one D, everything is transferred.

    A (256 new, 4 out) arrives at 0, D is idle and allocates at once: P has it at 5, forward 10 + 25.6 -> 40.6,
        wire 256 x 0.2 = 51.2 -> 91.8, batch 93.8 = first token, then steps of 11: 104.8, 115.8, 126.8 (end).
    B (128 new, 2 out) arrives at 1, P has it at 6, waits for A's forward until 40.6, forward 10 + 12.8 -> 63.4,
        waits for the link until 91.8, wire 25.6 -> 117.4, may join at 119.4, D's step ends at 126.8 = first token,
        second token 137.8.
    """
    spec = fleet("P D", MODEL, overlap_schedule=False, per_step=per_step)
    results = run_cluster(spec, [talk("a", 0.0, (256, 4)), talk("b", 0.001, (128, 2))], AlwaysP())
    first, last, start, wire, exposed = columns(
        results, "t_first_token_s", "t_last_token_s", "t_prefill_start_s", "kv_transfer_s", "kv_transfer_exposed_s"
    )
    np.testing.assert_allclose(first, [93.8, 126.8], rtol=1e-9)
    np.testing.assert_allclose(last, [126.8, 137.8], rtol=1e-9)
    np.testing.assert_allclose(start, [5.0, 40.6], rtol=1e-9)
    np.testing.assert_allclose(wire, [51.2, 25.6], rtol=1e-9)
    # From the end of the forward to the last byte: the queue for the link is part of it.
    np.testing.assert_allclose(exposed, [51.2, 117.4 - 63.4], rtol=1e-9)
    assert results.turns["arm"].tolist() == ["p-full", "p-full"]


def test_p_sends_one_after_the_other_and_its_next_batch_begins_late(per_step):
    """One P and one D over a link without bytes: a send takes 20, P's host 4 a result and 3 more to launch beside one.

    A (64 new) arrives at 0: P has it at 5, forward 10 + 6.4 -> 21.4, KV on D at 41.4, first token 43.4.
    B and C (64 new each) arrive at 1. A's result is handled until 25.4; A is being sent, so their batch begins at 28.4:
        forward 10 + 12.8 -> 51.2. B is sent at once until 71.2; C's result is handled at 55.2 and its KV waits for B's
        until 91.2. First tokens 73.2 and 93.2.
    """
    hands = replace(
        MODEL.handoffs[Arm.P_FULL, Transport.TCP],
        wire_s_per_token=0.0,
        send_s=0.020,
        request_result_s=0.004,
        beside_send_s=0.003,
    )
    model = MODEL.with_handoff(Arm.P_FULL, Transport.TCP, hands)
    spec = fleet("P D", model, overlap_schedule=False, router_awaits_prefill=False, per_step=per_step)
    talks = [talk("a", 0.0, (64, 1)), talk("b", 0.001, (64, 1)), talk("c", 0.001, (64, 1))]
    first, start = columns(run_cluster(spec, talks, AlwaysP()), "t_first_token_s", "t_prefill_start_s")
    np.testing.assert_allclose(start, [5.0, 28.4, 28.4], rtol=1e-9)
    np.testing.assert_allclose(first, [43.4, 73.2, 93.2], rtol=1e-9)


def test_on_a_pd_node_an_append_and_a_hand_off_meet(per_step):
    """One P and one pD that sends only what is missing; turns with fewer than 100 new tokens are appended.

    A0 (256 new, 3 out) is the hand-off of the timeline above: first token 93.8, then 104.8, 115.8 (end).
    A1 (64 new, 4 out) is thought about for 10: arrives at 125.8 with a prompt of 256 + 3 + 64 = 323. The pD holds
        256 + 3 - 1 = 258, 16 whole pages: 256 cached, 67 new, below 100: append, padded to 80, forward 10 + 8
        -> first token 143.8. Nothing decodes meanwhile, so nobody loses anything.
    B0 (128 new, 2 out) arrives at 80, while the pD is idle: P has it at 85, forward 22.8 -> 107.8, the link is free
        since 91.8, wire 25.6 -> 133.4, may join at 135.4, which is inside A1's forward: joins at its end,
        first token 143.8.
    Both decode: 154.8 (B ends), 165.8, 176.8 (A1 ends).
    """
    spec = fleet(
        "P pD",
        MODEL,
        overlap_schedule=False,
        router_awaits_prefill=False,
        per_step=per_step,
        disaggregation_decode_enable_radix_cache=True,
    )
    talks = [talk("a", 0.0, (256, 3), (64, 4, 0.010)), talk("b", 0.080, (128, 2))]
    results = run_cluster(spec, talks, Threshold(threshold_tokens=100))
    first, last, lost = columns(results, "t_first_token_s", "t_last_token_s", "resident_stall_s")
    np.testing.assert_allclose(first, [93.8, 143.8, 143.8], rtol=1e-9)
    np.testing.assert_allclose(last, [115.8, 176.8, 154.8], rtol=1e-9)
    np.testing.assert_allclose(lost, [0.0, 0.0, 0.0], atol=1e-9)
    assert results.turns["arm"].tolist() == ["p-delta", "append-d", "p-delta"]
    assert results.turns["cached_tokens"].tolist() == [0, 256, 0]
    assert any("not in SGLang up to 0.5.23" in note for note in results.notes)


def test_an_append_in_two_chunks_waits_for_the_step_launched_ahead_and_its_launch_delays_a_token(per_step):
    """One U that launches one step ahead; chunks of 128 tokens; a launch of 12, its floor of 10 hidden by a step.

    A (64 new, 6 out) arrives at 0: forward 10 + 6.4 -> first token 16.4, then 26.4, 36.4, 46.4.
    B (192 new, 2 out) arrives at 30, in the step that ends at 36.4; the next step is launched by then and ends at 46.4.
        First chunk 12.8 behind that step -> 59.2. Alone it would take 22.8, less the 2 by which a launch outlasts a
        step: the gap that B opens is 20.8 more than a step, so the tokens of the step before it come 8 early, at 38.4.
        Second chunk, behind which no step runs: 16.4 -> first token 75.6, second 85.6.
    A's fifth token comes at 85.6, a gap of 47.2 = a step and the 37.2 that B is charged with; its sixth at 95.6.
    """
    model = replace(MODEL, chunked_prefill_size=128, stall=replace(MODEL.stall, launch_s=0.012))
    spec = fleet("U", model, overlap_schedule=True, per_step=per_step)
    results = run_cluster(spec, [talk("a", 0.0, (64, 6)), talk("b", 0.030, (192, 2))], AlwaysP())
    start, first, last, prefill, lost = columns(
        results, "t_prefill_start_s", "t_first_token_s", "t_last_token_s", "prefill_s", "resident_stall_s"
    )
    np.testing.assert_allclose(start, [0.0, 46.4], rtol=1e-9)
    np.testing.assert_allclose(first, [16.4, 75.6], rtol=1e-9)
    np.testing.assert_allclose(last, [95.6, 85.6], rtol=1e-9)
    np.testing.assert_allclose(prefill, [16.4, 29.2], rtol=1e-9)
    np.testing.assert_allclose(lost, [0.0, 37.2], atol=1e-9)
    np.testing.assert_allclose(results.turns["itl_max_s"] * 1e3, [47.2, 10.0], rtol=1e-9)


def test_a_cached_prefix_is_sent_early_and_a_join_pauses_the_batch(per_step):
    """One P and one D that keeps nothing; three quarters of P's cached prefix go early; a hand-off takes 2 from each.

    A0 (128 new, 3 out) arrives at 0: P has it at 5, forward 22.8 -> 27.8, wire 25.6 -> 53.4, batch 55.4 = first token,
        then 66.4, 77.4 (end).
    B0 (64 new, 7 out) arrives at 80: P has it at 85, forward 16.4 -> 101.4, wire 12.8 -> 114.2, batch 116.2 = first
        token, then 127.2, 138.2, 149.2, 160.2.
    A1 (64 new, 2 out) is thought about for 22.6: arrives at 100 with a prompt of 128 + 3 + 64 = 195. D decodes nothing
        and allocates at once; P has it at 105. P keeps A0's prompt, 128 tokens: 67 new, padded to 80, forward 18
        -> 123. Early 96 tokens wait for B0's KV until 114.2, wire 19.2 -> 133.4; then 32 + 67 = 99 tokens,
        wire 19.8 -> 153.2. May join at 155.2, B0's step ends at 160.2 = first token.
    The join takes 2 from B0, so both next tokens come at 160.2 + 2 + 11 = 173.2 (A1 ends); B0 ends at 184.2.
    """
    link = replace(MODEL.handoff(Arm.P_FULL, Transport.TCP), early_share=0.75)
    model = replace(MODEL.with_handoff(Arm.P_FULL, Transport.TCP, link), stall=replace(MODEL.stall, handoff_s=0.002))
    spec = fleet("P D", model, overlap_schedule=False, router_awaits_prefill=False, per_step=per_step)
    talks = [talk("a", 0.0, (128, 3), (64, 2, 0.0226)), talk("b", 0.080, (64, 7))]
    results = run_cluster(spec, talks, AlwaysP())
    arrival, first, last, lost = columns(
        results, "t_arrival_s", "t_first_token_s", "t_last_token_s", "resident_stall_s"
    )
    np.testing.assert_allclose(arrival, [0.0, 100.0, 80.0], rtol=1e-9)
    np.testing.assert_allclose(first, [55.4, 160.2, 116.2], rtol=1e-9)
    np.testing.assert_allclose(last, [77.4, 173.2, 184.2], rtol=1e-9)
    np.testing.assert_allclose(lost, [0.0, 2.0, 0.0], atol=1e-9)
    wire, exposed, worst = columns(results, "kv_transfer_s", "kv_transfer_exposed_s", "itl_max_s")
    np.testing.assert_allclose(wire, [25.6, 39.0, 12.8], rtol=1e-9)
    np.testing.assert_allclose(exposed, [25.6, 30.2, 12.8], rtol=1e-9)
    np.testing.assert_allclose(worst, [11.0, 13.0, 13.0], rtol=1e-9)
    assert results.turns["cached_tokens"].tolist() == [0, 128, 0]


@pytest.mark.parametrize("residents", [0, 1, 3])
def test_a_join_takes_its_pause_from_every_stream_that_decodes(per_step, residents):
    """One P and one D on which residents decode in steps of 11; a join takes 2 from each.

    A (128 new, 2 out) arrives at 1 and D gives its pages at the end of the step, 11: P has it at 16, forward 22.8
        -> 38.8, wire 25.6 -> 64.4, may join at 66.4, a step ends at 77 with A's first token, and after 2 + 11 the
        second. An idle D gives pages at once, so all of it is 10 earlier; the batch starts at 56.4, and no one waits.
    """
    model = replace(MODEL, stall=replace(MODEL.stall, handoff_s=0.002))
    spec = fleet("P D", model, overlap_schedule=False, per_step=per_step)
    spec = replace(spec, residents=residents, resident_context_tokens=64)
    results = run_cluster(spec, [talk("a", 0.001, (128, 2))], AlwaysP())
    first, last, lost = columns(results, "t_first_token_s", "t_last_token_s", "resident_stall_s")
    np.testing.assert_allclose(first, [77.0 if residents else 56.4], rtol=1e-9)
    np.testing.assert_allclose(last, [90.0 if residents else 67.4], rtol=1e-9)
    np.testing.assert_allclose(lost, [2.0 * residents], atol=1e-9)


@pytest.mark.parametrize(
    ("extra_slots", "first_b"),
    [
        (1, 148.8),  # B's KV is there since 119.4, and its place in the batch is free when A ends
        (0, 204.2),  # B gets its pages when A ends: handshake 5, forward 22.8, wire 25.6, join 2
    ],
)
def test_a_hand_off_without_a_running_slot_waits_in_transfer_or_for_its_pages(per_step, extra_slots, first_b):
    """One P and one D that runs one request at once.

    A (256 new, 6 out) arrives at 0: first token 93.8, then five steps of 11: ends at 148.8.
    B (128 new, 2 out) arrives at 1. With an extra slot it is transferred meanwhile (119.4, as above).
    """
    spec = fleet(
        "P D",
        MODEL,
        overlap_schedule=False,
        per_step=per_step,
        max_running_requests=1,
        disaggregation_decode_extra_slots=extra_slots,
    )
    results = run_cluster(spec, [talk("a", 0.0, (256, 6)), talk("b", 0.001, (128, 2))], AlwaysP())
    first, last = columns(results, "t_first_token_s", "t_last_token_s")
    np.testing.assert_allclose(first, [93.8, first_b], rtol=1e-9)
    np.testing.assert_allclose(last, [148.8, first_b + 11.0], rtol=1e-9)


def test_a_hand_off_that_waits_too_long_for_pages_fails_and_frees_the_queue(per_step):
    """One P and one D of 20 pages; a hand-off waits 50 for its pages at most.

    A (256 new, 4 out) takes 16 pages at 0: first token 93.8, end 126.8.
    B (128 new, then another turn) asks for 8 pages at 1, which are not there: it fails at 51, and its second turn with
        it. Nobody overtakes it until then.
    C (16 new, 2 out) asks for one page at 20 and gets it at 51, while A is in transfer: P has it at 56, forward
        10 + 1.6 -> 67.6, the link is free at 91.8, wire 3.2 -> 95, may join at 97; A's step ends at 104.8 = first.
    """
    spec = fleet(
        "P D",
        MODEL,
        pool=320,
        overlap_schedule=False,
        per_step=per_step,
        num_reserved_decode_tokens=0,
        disaggregation_bootstrap_timeout_s=0.050,
    )
    talks = [talk("a", 0.0, (256, 4)), talk("b", 0.001, (128, 2), (16, 2)), talk("c", 0.020, (16, 2))]
    results = run_cluster(spec, talks, AlwaysP())
    assert results.turns["status"].tolist() == ["ok", "timed_out", "rejected", "ok"]
    first, last = columns(results, "t_first_token_s", "t_last_token_s")
    np.testing.assert_allclose(first, [93.8, np.nan, np.nan, 104.8], rtol=1e-9)
    np.testing.assert_allclose(last, [126.8, np.nan, np.nan, 115.8], rtol=1e-9)


def test_a_hand_off_whose_kv_does_not_come_in_time_fails_and_gives_its_pages_back(per_step):
    """One P and one D of 20 pages each; D takes one turn at once, and a hand-off waits 80 for its KV at most.

    A (256 new, 4 out, then another turn) takes 16 pages at 0: P has it at 5, forward -> 40.6, its KV would be there at
        91.8 and join at 93.8. It fails at 80, and its second turn with it; what is on the wire stays there, and on P.
    B (128 new, 2 out) asks for 8 pages at 20 and gets them and A's place at 80: P has it at 85 and no room until 93.8,
        forward -> 116.6, wire -> 142.2, may join at 144.2, where D is idle: first token, the second at 155.2.
    """
    spec = fleet(
        "P D",
        MODEL,
        pool=320,
        overlap_schedule=False,
        per_step=per_step,
        num_reserved_decode_tokens=0,
        max_running_requests=1,
        disaggregation_decode_extra_slots=0,
        disaggregation_waiting_timeout_s=0.080,
    )
    results = run_cluster(spec, [talk("a", 0.0, (256, 4), (16, 2)), talk("b", 0.020, (128, 2))], AlwaysP())
    assert results.turns["status"].tolist() == ["timed_out", "rejected", "ok"]
    first, last = columns(results, "t_first_token_s", "t_last_token_s")
    np.testing.assert_allclose(first, [np.nan, np.nan, 144.2], rtol=1e-9)
    np.testing.assert_allclose(last, [np.nan, np.nan, 155.2], rtol=1e-9)
    assert results.summary()["status"] == {"ok": 1, "rejected": 1, "timed_out": 1, "unfinished": 0}
    assert results.turns["slo_met"].tolist() == [False, False, True]


def test_p_drops_what_d_has_given_up_or_computes_it_to_the_end_and_sends_nothing(per_step):
    """Prompts A and B of 512 tokens, 1 out, C and E of 16, 2 out; 0.05 of wire a token; KV is waited for 100.

    P has A, B, C at 5, 6, 7: forward of A 61.2 -> 66.2, wire -> 91.8, A's only token at 93.8. B's forward -> 127.4.
    B has its pages since 1 and fails at 101, in the midst of its forward; C fails at 102 in P's queue, which drops it.
    E arrives at 90, P has it at 95 and computes it alone, 11.6 -> 139.0. The link is free, because nothing of B is
        sent: wire 0.8 -> 139.8, may join at 141.8, first token; the second at 152.8.
    """
    model = replace(
        MODEL, handoffs={key: replace(curve, wire_s_per_token=5e-5) for key, curve in MODEL.handoffs.items()}
    )
    spec = fleet(
        "P D",
        model,
        overlap_schedule=False,
        router_awaits_prefill=False,
        per_step=per_step,
        disaggregation_waiting_timeout_s=0.100,
    )
    talks = [talk("a", 0.0, (512, 1)), talk("b", 0.001, (512, 1)), talk("c", 0.002, (16, 2)), talk("e", 0.090, (16, 2))]
    results = run_cluster(spec, talks, AlwaysP())
    assert results.turns["status"].tolist() == ["ok", "timed_out", "timed_out", "ok"]
    first, last = columns(results, "t_first_token_s", "t_last_token_s")
    np.testing.assert_allclose(first, [93.8, np.nan, np.nan, 141.8], rtol=1e-9)
    np.testing.assert_allclose(last, [93.8, np.nan, np.nan, 152.8], rtol=1e-9)


def test_two_prefill_nodes_on_one_nic_share_it_while_both_send(per_step):
    """Two P on one NIC and two D.

    A (256 new, 2 out) arrives at 0: one P has it at 5, forward 35.6 -> 40.6, wire 51.2 if it were alone.
    B (128 new, 2 out) arrives at 1: the other P has it at 6, forward 22.8 -> 28.8, wire 25.6 if it were alone.
    B is alone until 40.6 and has 25.6 - 11.8 = 13.8 left; both at half speed until 40.6 + 2 x 13.8 = 68.2, when B is
        there: first token 70.2. A has 51.2 - 13.8 = 37.4 left, alone -> 105.6, first token 107.6.
    """
    spec = fleet("P P D D", MODEL, nic="one", overlap_schedule=False, per_step=per_step)
    results = run_cluster(spec, [talk("a", 0.0, (256, 2)), talk("b", 0.001, (128, 2))], AlwaysP())
    first, last, wire, exposed = columns(
        results, "t_first_token_s", "t_last_token_s", "kv_transfer_s", "kv_transfer_exposed_s"
    )
    np.testing.assert_allclose(first, [107.6, 70.2], rtol=1e-9)
    np.testing.assert_allclose(last, [118.6, 81.2], rtol=1e-9)
    np.testing.assert_allclose(wire, [51.2, 25.6], rtol=1e-9)
    np.testing.assert_allclose(exposed, [105.6 - 40.6, 68.2 - 28.8], rtol=1e-9)


@pytest.mark.parametrize(
    ("pool", "first_c", "ends"),
    [(150, 102.2, [102.2, 124.2, 113.2]), (151, 91.2, [102.2, 113.2, 113.2])],
)
def test_a_hand_off_that_has_arrived_does_not_join_while_a_stream_is_retracted(per_step, pool, first_c, ends):
    """One P and one D of 150 pages of one token.

    A (64 new, 7 out) arrives at 0: P has it at 5, forward 16.4 -> 21.4, wire 12.8 -> 34.2, first token 36.2.
    B (64 new, 5 out) arrives at 1: forward -> 37.8, wire -> 50.6, may join at 52.6, A's step ends at 58.2 = first.
    C (16 new, 2 out) arrives at 60 and gets 16 pages at 69.2: P has it at 74.2, forward 11.6 -> 85.8, wire -> 89,
        may join at 91.
    At 80.2 A has 68 pages, B 66, C 16, and none is free; the step needs two: B goes. C is there at the next boundary,
        91.2, but waits as long as B does, for which 65 are free. A ends at 102.2: B resumes and C joins. C ends at
        113.2, B at 124.2.
    With one page more B's 66 fit at 91.2, so nobody is retracted for a moment and C joins; then the step needs three
        pages, none is free, and C, with the fewest tokens, goes. A ends at 102.2, C resumes; B and C end at 113.2.
    """
    spec = fleet(
        "P D",
        MODEL,
        pool=pool,
        page_size=1,
        num_reserved_decode_tokens=0,
        overlap_schedule=False,
        router_awaits_prefill=False,
        per_step=per_step,
    )
    talks = [talk("a", 0.0, (64, 7)), talk("b", 0.001, (64, 5)), talk("c", 0.060, (16, 2))]
    first, last = columns(run_cluster(spec, talks, AlwaysP()), "t_first_token_s", "t_last_token_s")
    np.testing.assert_allclose(first, [36.2, 58.2, first_c], rtol=1e-9)
    np.testing.assert_allclose(last, ends, rtol=1e-9)


@pytest.mark.parametrize(("pool", "first_b"), [(119, 91.2), (118, 487.0)])
def test_d_keeps_room_for_the_longest_answer_to_end_alone(per_step, pool, first_b):
    """One P and one D with pages of one token and no reserve.

    A (64 new, 40 out) arrives at 0: first token 36.2, then steps of 11, the last token 465.2.
    B (16 new, 2 out) arrives at 60. At 69.2 A has 67 tokens of KV and one that has none yet, so if all that runs were
        retracted A would still need 64 + 40 - 68 = 36 pages. Of 119 pages 119 - 67 - 16 = 36 are left beside B's: P has
        it at 74.2, forward 11.6 -> 85.8, wire -> 89, may join at 91: first token 91.2.
    Of 118 pages one is missing, and each further step takes a page and needs one less. B gets its pages at 465.2: P has
        it at 470.2, forward -> 481.8, wire -> 485, first token 487.
    """
    spec = fleet(
        "P D",
        MODEL,
        pool=pool,
        page_size=1,
        num_reserved_decode_tokens=0,
        overlap_schedule=False,
        per_step=per_step,
    )
    results = run_cluster(spec, [talk("a", 0.0, (64, 40)), talk("b", 0.060, (16, 2))], AlwaysP())
    first, last = columns(results, "t_first_token_s", "t_last_token_s")
    np.testing.assert_allclose(first, [36.2, first_b], rtol=1e-9)
    np.testing.assert_allclose(last[0], 465.2, rtol=1e-9)


def test_every_node_costs_what_its_own_profile_says(per_step):
    """One P whose forwards have a floor of 20 and one D whose steps take 30.

    A (64 new, 3 out) arrives at 0: P has it at 5, forward 20 + 6.4 -> 31.4, wire 12.8 -> 44.2, first token 46.2, then
        steps of 30 + 1: 77.2, 108.2.
    """
    spec = fleet("P D", MODEL, overlap_schedule=False, per_step=per_step)
    prefill, decode = spec.nodes
    slow_p = replace(prefill.model, prefill=replace(MODEL.prefill, floor_s=0.020))
    slow_d = replace(decode.model, decode=replace(MODEL.decode, floor_s=0.030))
    spec = replace(spec, nodes=(replace(prefill, model=slow_p), replace(decode, model=slow_d)))
    first, last = columns(run_cluster(spec, [talk("a", 0.0, (64, 3))], AlwaysP()), "t_first_token_s", "t_last_token_s")
    np.testing.assert_allclose(first, [46.2], rtol=1e-9)
    np.testing.assert_allclose(last, [108.2], rtol=1e-9)
