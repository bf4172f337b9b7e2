"""Timelines of the loops that launch one batch ahead, and of the router that awaits P's answer, worked out by hand.

Costs are those of `test_timelines`: a forward takes 10 ms and 0.1 ms a new token, which nothing on P hides, a decode
step 10 ms, and 1 ms more where D had no stream. A hand-off has a handshake of 5 ms, 0.2 ms of wire a token, and 2 ms
from the last byte to the batch. Times in ms.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from des.costs import fleet, talk
from des.test_timelines import MODEL, columns

from ppdsim.des.cluster import run_cluster
from ppdsim.routing import AlwaysP


@pytest.fixture(params=[False, True], ids=["closed form", "per step"])
def per_step(request):
    return request.param


def run(per_step, *talks, model=MODEL, **knobs):
    return run_cluster(fleet("P D", model, per_step=per_step, **knobs), list(talks), AlwaysP())


@pytest.mark.parametrize(
    ("arrival_b", "start_b", "first", "last"),
    [
        (0.004, 27.8, [71.8, 84.6], [82.8, 95.6]),
        (0.011, 27.8, [55.4, 68.2], [66.4, 79.2]),
    ],
)
def test_a_batch_launched_behind_another_keeps_its_kv_back(per_step, arrival_b, start_b, first, last):
    """One P and one D.

    A (128 new, 2 out) arrives at 0: P has it at 5, launches until 15, forward 22.8 -> 27.8.
    B (64 new, 2 out) arrives at 4: P has it at 9, sees it at 15 and launches it behind A: forward 16.4 -> 44.2. Only
        then is A's KV sent: wire 25.6 -> 69.8, first token 71.8, second 82.8. B's wire 12.8 -> 82.6, first token 84.6.
    If B arrives at 11, P has it at 16, when the host waits for A's result: A's KV is sent at 27.8 -> 53.4, first token
        55.4. B's forward 16.4 -> 44.2, the link is free at 53.4, wire -> 66.2.
    """
    results = run(per_step, talk("a", 0.0, (128, 2)), talk("b", arrival_b, (64, 2)))
    start, found_first, found_last = columns(results, "t_prefill_start_s", "t_first_token_s", "t_last_token_s")
    np.testing.assert_allclose(start, [5.0, start_b], rtol=1e-9)
    np.testing.assert_allclose(found_first, first, rtol=1e-9)
    np.testing.assert_allclose(found_last, last, rtol=1e-9)


def test_while_requests_keep_coming_every_result_is_handled_one_batch_late(per_step):
    """One P and one D; 16 tokens are 1.6 of work and 3.2 of wire.

    A (128 new) at 0 and B (64 new) at 4 as above: the second forward ends at 44.2, when A's KV is sent.
    C (16 new) arrives at 20: P has it at 25, sees it at 44.2: forward 11.6 -> 55.8. B's KV is sent then, though its
        forward ended at 44.2: the link is free at 69.8, -> 82.6.
    D (16 new) arrives at 41: P has it at 46, sees it at 55.8: forward 11.6 -> 67.4, when C's KV is sent -> 85.8;
        nothing else waits, so D's follows at once -> 89.
    All have one token, 2 after their last byte.
    """
    arrivals = {"a": (0.0, 128), "b": (0.004, 64), "c": (0.020, 16), "d": (0.041, 16)}
    results = run(per_step, *(talk(name, at, (new, 1)) for name, (at, new) in arrivals.items()))
    start, first, exposed = columns(results, "t_prefill_start_s", "t_first_token_s", "kv_transfer_exposed_s")
    np.testing.assert_allclose(start, [5.0, 27.8, 44.2, 55.8], rtol=1e-9)
    np.testing.assert_allclose(first, [71.8, 84.6, 87.8, 91.0], rtol=1e-9)
    np.testing.assert_allclose(exposed, [69.8 - 27.8, 82.6 - 44.2, 85.8 - 55.8, 89.0 - 67.4], rtol=1e-9)


def test_a_chunk_is_sent_at_the_end_of_the_next_one(per_step):
    """One P with chunks of 128 and one D.

    A (320 new, 1 out) arrives at 0: P has it at 5. First chunk 22.8 -> 27.8; the second, launched from 15 on behind it,
        22.8 -> 50.6, when the first is sent: 25.6 -> 76.2. The third is launched then, 16.4 -> 67, when the second
        is sent, and with it the third, for nothing is launched behind it: 25.6 + 12.8 -> 114.6. Token at 116.6.
    Without overlap each chunk is sent at its end: 27.8, 50.6, 67; wire -> 53.4, 79, 91.8.
    """
    model = replace(MODEL, chunked_prefill_size=128)
    expected = {True: 116.6, False: 93.8}
    for overlap, first_ms in expected.items():
        results = run(per_step, talk("a", 0.0, (320, 1)), model=model, overlap_schedule=overlap)
        (first,) = columns(results, "t_first_token_s")
        np.testing.assert_allclose(first, [first_ms], rtol=1e-9)


def test_who_joins_beside_streams_misses_the_step_that_is_launched(per_step):
    """One P and one D.

    A (64 new, 8 out) arrives at 0: forward 16.4 -> 21.4, wire 12.8 -> 34.2, first token 36.2; D had no stream: 47.2,
    then
        every 10, the last at 107.2.
    B (64 new, 3 out) arrives at 12, while P waits for A: forward 21.4 -> 37.8, wire -> 50.6, may join at 52.6, which is
        in A's step to 57.2: first token 57.2. The step to 67.2 is launched by then: B's second token comes at 77.2, its
        third at 87.2.
    """
    results = run(per_step, talk("a", 0.0, (64, 8)), talk("b", 0.012, (64, 3)), router_awaits_prefill=False)
    first, last, worst = columns(results, "t_first_token_s", "t_last_token_s", "itl_max_s")
    np.testing.assert_allclose(first, [36.2, 57.2], rtol=1e-9)
    np.testing.assert_allclose(last, [107.2, 87.2], rtol=1e-9)
    np.testing.assert_allclose(worst, [11.0, 20.0], rtol=1e-9)


@pytest.mark.parametrize(
    ("awaits", "tokens", "first", "last", "worst"),
    [
        (True, 8, 86.2, 107.2, 10.0),
        (True, 4, 86.2, 86.2, 0.0),
        (False, 8, 36.2, 107.2, 11.0),
        (False, 4, 36.2, 67.2, 11.0),
    ],
)
def test_the_router_hands_on_nothing_before_p_has_answered(per_step, awaits, tokens, first, last, worst):
    """One P and one D.

    A0 (64 new) arrives at 0: its KV is on D at 36.2, when D has its first token; 47.2, then every 10. B (512 new, 1
    out) arrives at 20: P has it at 25 and launches it until 35: forward 61.2 -> 86.2. From 35 on P waits for it, so it
        sees A0's transfer and answers it at 86.2: all that D has of A0 by then comes to the client at once. Of 8 tokens
        5 do, and the next comes at 87.2; of 4 all do.
    A1 is sent 10 after A0's last token has come.
    """
    talks = talk("a", 0.0, (64, tokens), (64, 1, 0.010)), talk("b", 0.020, (512, 1))
    results = run(per_step, *talks, router_awaits_prefill=awaits)
    arrival, found_first, found_last, found_worst = columns(
        results, "t_arrival_s", "t_first_token_s", "t_last_token_s", "itl_max_s"
    )
    np.testing.assert_allclose(found_first[0], first, rtol=1e-9)
    np.testing.assert_allclose(found_last[0], last, rtol=1e-9)
    np.testing.assert_allclose(found_worst[0], worst, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(arrival[1], last + 10.0, rtol=1e-9)
    assert np.sum(results.itl_counts) == tokens - 1
