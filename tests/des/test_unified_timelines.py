"""Timelines of unified servers worked out by hand; the closed form and the step-by-step simulation give them.

Costs as in test_timelines.py: a forward takes 10 ms and 0.1 ms a new token (padded to the captured sizes), a decode
step 10 ms. Unless a test says so the scheduler does not launch ahead, so nothing is hidden. Times in ms.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from des.costs import cost_model, fleet, talk

from ppdsim.des.cluster import run_cluster
from ppdsim.routing import AlwaysP, Threshold

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


@pytest.mark.parametrize(
    ("pool", "schedule_conservativeness", "first_b"),
    [(141, 1.0, 42.8), (140, 1.0, 132.8), (140, 0.5, 42.8)],
)
def test_admission_keeps_back_a_share_of_what_running_answers_may_need(
    per_step, pool, schedule_conservativeness, first_b
):
    """One U with pages of one token.

    A (64 new, 11 out) arrives at 0: first token 16.4, second 26.4, eleventh 116.4.
    B (64 new, 4 out) arrives at 20. At 26.4 A has 65 tokens of KV and 9 tokens to come. The ratio is 0.7 less one decay
        of (0.7 - 0.098) / 600, so A may still need 6.29. B needs 64 + 4 and a page = 69.
        Of 141 pages 76 are left and 6.7 are enough beside 69: forward 16.4 -> 42.8.
        Of 140 pages 75 are left, which is 0.29 short: the batch is full until A ends: 116.4 + 16.4 = 132.8.
        With half the conservativeness A may need half of that, and B starts.
    """
    spec = fleet(
        "U",
        MODEL,
        pool=pool,
        page_size=1,
        schedule_conservativeness=schedule_conservativeness,
        overlap_schedule=False,
        per_step=per_step,
    )
    results = run_cluster(spec, [talk("a", 0.0, (64, 11)), talk("b", 0.020, (64, 4))], AlwaysP())
    np.testing.assert_allclose(columns(results, "t_first_token_s")[0], [16.4, first_b], rtol=1e-9)
    assert results.notes == ()


@pytest.mark.parametrize(("overlap_schedule", "first_a", "first_b"), [(False, 20.8, 61.2), (True, 26.8, 73.2)])
def test_a_full_batch_takes_nobody_until_the_scheduler_has_seen_a_stream_leave(
    per_step, overlap_schedule, first_a, first_b
):
    """One U that runs two requests at once; the floor of a forward is 4.

    S (64 new, 20 out) arrives at 0: first token 10.4.
    A (64 new, 3 out) arrives at 1: forward 10.4 -> 20.8; when the scheduler launches ahead a step comes first, 20.4,
        and hides the floor: 6.4 -> 26.8. A ends two steps later, 40.8 or 46.8.
    B (64 new, 2 out) arrives at 28 and finds no slot: the batch is full. The scheduler takes A out after it has looked
        for a prefill, so one more step comes before B's forward: 50.8, 61.2; when it launches ahead two more: 56.8,
        66.8, 73.2.
    """
    model = replace(MODEL, prefill=replace(MODEL.prefill, floor_s=0.004, prepare_s=0.004))
    spec = fleet("U", model, max_running_requests=2, overlap_schedule=overlap_schedule, per_step=per_step)
    talks = [talk("s", 0.0, (64, 20)), talk("a", 0.001, (64, 3)), talk("b", 0.028, (64, 2))]
    first, last = columns(run_cluster(spec, talks, AlwaysP()), "t_first_token_s", "t_last_token_s")
    np.testing.assert_allclose(first, [10.4, first_a, first_b], rtol=1e-9)
    np.testing.assert_allclose(last[1], first_a + 20.0, rtol=1e-9)


def test_a_retracted_stream_goes_to_the_end_of_the_queue_and_is_prefilled_anew(per_step):
    """One U with 138 pages of one token that keeps nothing back.

    A (64 new, 10 out) arrives at 0: first token 16.4.
    B (64 new, 8 out) arrives at 1: at 16.4 it needs 64 + 8 + 1 = 73 of 74: forward, which A loses -> first token 32.8.
    Both decode five steps to 82.8 and have 6 tokens each; the 10 pages are used up. Of two streams with as many tokens
        and as long a prompt the later one goes: B. Its 5 further tokens are dropped; its prompt could stay, but 20
        pages are made free for the next 20 steps of A, so it is evicted.
    The ratio is now min(1, (6 + 20) / 11) = 1. At 92.8 B needs 70 + 2 + 1 beside A and does not get it: full.
    C (16 new, 2 out) arrives at 85, behind B.
    A ends at 122.8. B (64 + 6 tokens) and C are prefilled together: 86 tokens, padded to 96: 10 + 9.6 -> 142.4 is B's
        seventh token and C's first; 152.4 is the last of both.
    """
    spec = fleet(
        "U",
        MODEL,
        pool=138,
        page_size=1,
        schedule_conservativeness=0.0,
        overlap_schedule=False,
        per_step=per_step,
    )
    talks = [talk("a", 0.0, (64, 10)), talk("b", 0.001, (64, 8)), talk("c", 0.085, (16, 2))]
    results = run_cluster(spec, talks, AlwaysP())
    first, last, worst = columns(results, "t_first_token_s", "t_last_token_s", "itl_max_s")
    np.testing.assert_allclose(first, [16.4, 32.8, 142.4], rtol=1e-9)
    np.testing.assert_allclose(last, [122.8, 152.4, 152.4], rtol=1e-9)
    np.testing.assert_allclose(worst, [26.4, 59.6, 10.0], rtol=1e-9)
    assert results.notes == ("1 retractions: a KV pool ran out of pages while decoding",)


def test_the_prompt_of_a_retracted_stream_stays_cached_where_there_is_room(per_step):
    """One U with 190 pages of one token that keeps nothing back.

    A and B (64 new, 60 out) arrive at 0 and 1: first tokens 16.4 and 32.8; 62 pages are free.
    After 31 steps, at 342.8, nothing is free and B goes. Its 31 further tokens are dropped, which is room for 20 steps
        of A, so its prompt stays. A has 32 tokens and ends 28 steps later, at 622.8.
    B is prefilled anew: 64 + 32 tokens of which 64 are cached: 10 + 3.2 -> its 33rd token 636, its 60th 27 steps later.
    """
    spec = fleet(
        "U",
        MODEL,
        pool=190,
        page_size=1,
        schedule_conservativeness=0.0,
        overlap_schedule=False,
        per_step=per_step,
    )
    results = run_cluster(spec, [talk("a", 0.0, (64, 60)), talk("b", 0.001, (64, 60))], AlwaysP())
    first, last, worst = columns(results, "t_first_token_s", "t_last_token_s", "itl_max_s")
    np.testing.assert_allclose(first, [16.4, 32.8], rtol=1e-9)
    np.testing.assert_allclose(last, [622.8, 906.0], rtol=1e-9)
    np.testing.assert_allclose(worst, [26.4, 636.0 - 342.8], rtol=1e-9)
    assert results.turns["cached_tokens"].tolist() == [0, 0]


def test_with_mixed_chunks_the_streams_get_a_token_in_every_forward(per_step):
    """One U, chunks of 128 tokens; a step takes 0.01 more for each token of context.

    A (64 new, 5 out) arrives at 0: first token 16.4; a step on 64 tokens, 10.64 -> 27.04.
    B (192 new, 2 out) arrives at 20. At 27.04 A rides along and takes one token of the budget, which leaves 127, 7
        whole pages: 112 + 1 rows, padded to 128: 10 + 12.8, and A's 65 tokens of context 0.65: 23.45 -> 50.49, A's
        third.
        Then 80 + 1 rows, padded to 96: 10 + 9.6 + 0.66 = 20.26 -> 70.75, A's fourth and B's first.
    A step on 67 + 192 tokens, 12.59 -> 83.34: A's fifth and B's second.
    A loses what the forwards take beyond steps of 10.65 and 10.66: 12.8 + 9.6.
    """
    model = replace(MODEL, decode=replace(MODEL.decode, context_s_per_token=1e-5))
    spec = fleet(
        "U",
        model,
        chunked_prefill_size=128,
        enable_mixed_chunk=True,
        overlap_schedule=False,
        per_step=per_step,
    )
    results = run_cluster(spec, [talk("a", 0.0, (64, 5)), talk("b", 0.020, (192, 2))], AlwaysP())
    first, last, lost, worst = columns(results, "t_first_token_s", "t_last_token_s", "resident_stall_s", "itl_max_s")
    np.testing.assert_allclose(first, [16.4, 70.75], rtol=1e-9)
    np.testing.assert_allclose(last, [83.34, 83.34], rtol=1e-9)
    np.testing.assert_allclose(lost, [0.0, 22.4], atol=1e-9)
    np.testing.assert_allclose(worst, [23.45, 12.59], rtol=1e-9)
    assert [note.split(":")[0] for note in results.notes] == ["assumed"]


def test_without_a_reserve_a_decode_server_resumes_and_retracts_a_stream_at_every_step(per_step):
    """One P and one pD of 11 pages of 16, no reserve; turns with fewer than 100 new tokens are appended.

    A0 (64 new, 1 out) arrives at 0: P has it at 5, forward -> 21.4, wire 12.8 -> 34.2, first and last token 36.2.
    B (64 new, 3 out) arrives at 20: P has it at 25, forward -> 41.4, wire -> 54.2, may join at 56.2.
    A1 (30 new, 20 out) arrives at 36.2 with a prompt of 95, 64 of it cached: 31 new, padded to 32: 13.2 -> 49.4, the
        first token; the next step ends at 60.4, where B joins and has its first token.
    A has 96 tokens and B 64: both open a page, and one is free. B, with fewer tokens, goes, and A takes that page. At
        71.4 B's four pages fit again, it resumes, needs a fifth, and goes; so at every step up to 236.4, 17 times in
        all. There A opens a page, and B fits no more.
    A ends at 258.4. B goes on: 269.4, 280.4.
    """
    spec = fleet(
        "P pD",
        MODEL,
        pool=176,
        num_reserved_decode_tokens=0,
        overlap_schedule=False,
        router_awaits_prefill=False,
        per_step=per_step,
    )
    talks = [talk("a", 0.0, (64, 1), (30, 20)), talk("b", 0.020, (64, 3))]
    results = run_cluster(spec, talks, Threshold(threshold_tokens=100))
    first, last = columns(results, "t_first_token_s", "t_last_token_s")
    np.testing.assert_allclose(first, [36.2, 49.4, 60.4], rtol=1e-9)
    np.testing.assert_allclose(last, [36.2, 258.4, 280.4], rtol=1e-9)
    assert "17 retractions: a KV pool ran out of pages while decoding" in results.notes
