"""What a server refuses, what waits for memory, what is retracted, and what ends with its client."""

from __future__ import annotations

import pytest
from engines.sglang.standin.stand_in import Bench

from ppdsim.engines.sglang.standin.build import load_profile, settings_of
from ppdsim.engines.sglang.standin.request import FAKE_BOOTSTRAP_HOST, Finish, Rendezvous, Request
from ppdsim.engines.stand_in import DEFAULT_PROFILE
from ppdsim.types import Transport


def messages(request: Request) -> str:
    assert request.visible_ending is not None
    return request.visible_ending.message


def test_a_prompt_that_no_pool_holds_is_refused_in_the_engine_words() -> None:
    bench = Bench(kv_pool_tokens=1024)
    request, _ = bench.send(bench.ids(1100), 4)
    bench.run()
    assert "Input length (1100 tokens) exceeds the maximum allowed length (1018 tokens)" in messages(request)
    assert request.visible_ending.status == 400


def test_an_answer_is_cut_to_what_the_pool_holds() -> None:
    bench = Bench(kv_pool_tokens=1024)
    request, _ = bench.send(bench.ids(900), 4000)
    bench.run()
    assert (request.visible_ending.finish, request.visible) == (Finish.LENGTH, 1024 - 1 - 900 - 1)


def test_streams_that_do_not_fit_together_run_one_after_another() -> None:
    bench = Bench(kv_pool_tokens=1024)
    first, second = (bench.send(bench.ids(600), 20)[0] for _ in range(2))
    bench.run()
    assert second.prefilled_s > first.finished_s


@pytest.mark.parametrize("disaggregated", [False, True])
def test_no_more_requests_run_together_than_the_flag_allows(disaggregated: bool) -> None:
    bench = Bench(disaggregated=disaggregated, max_running_requests=2)
    requests = [bench.send(bench.ids(128), 20)[0] for _ in range(5)]
    bench.run()
    assert [request.visible for request in requests] == [20] * 5
    for request in requests:
        others = [one for one in requests if one is not request]
        # Who runs at the moment in which this one ends.
        beside = [one for one in others if one.first_s < request.finished_s <= one.finished_s]
        assert len(beside) <= 1


def test_the_shortest_answer_is_retracted_and_still_ends() -> None:
    # Admission sets aside a part only of what running streams may generate.
    bench = Bench(kv_pool_tokens=2048, new_token_ratio=0.0)
    requests = [bench.send(bench.ids(448), 1000)[0] for _ in range(2)]
    bench.run()
    assert [request.visible for request in requests] == [1000, 1000]
    assert sum(request.retractions for request in requests) > 0
    assert {request.visible_ending.finish for request in requests} == {Finish.LENGTH}


def test_d_retracts_resumes_and_admits_nobody_in_between() -> None:
    bench = Bench(disaggregated=True, kv_pool_tokens=2112, num_reserved_decode_tokens=64)
    requests = [bench.send(bench.ids(512), 1000)[0] for _ in range(2)]
    late, _ = bench.send(bench.ids(128), 2, at_s=3.0)
    bench.run()
    assert [request.visible for request in requests] == [1000, 1000]
    retracted = next(request for request in requests if request.retractions)
    assert late.visible == 2
    assert late.forward_s > min(request.finished_s for request in requests)
    assert retracted.first_s < late.first_s


def test_d_admits_in_order_and_keeps_a_reserve() -> None:
    bench = Bench(disaggregated=True, kv_pool_tokens=4096)
    first, _ = bench.send(bench.ids(2500), 40)
    second, _ = bench.send(bench.ids(2400), 2, at_s=0.01)
    # It would fit beside the first, but nobody overtakes.
    third, _ = bench.send(bench.ids(64), 2, at_s=0.02)
    bench.run()
    assert second.forward_s >= first.finished_s
    assert third.forward_s >= second.forward_s


def test_a_request_that_d_can_never_hold_ends_at_the_bootstrap_timeout() -> None:
    bench = Bench(disaggregated=True, kv_pool_tokens=2048)
    request, log = bench.send(bench.ids(1800), 2)
    bench.run()
    assert 300.0 < log.times_s[-1] < 301.0
    assert "timed out after 300.0s" in messages(request)
    assert not bench.prefill.requests


def test_p_alone_gives_up_at_the_bootstrap_timeout() -> None:
    bench = Bench(disaggregated=True)
    seen: list[Request] = []
    request = Request(rid="x", ids=bench.ids(64), output_tokens=1, deliver=seen.append, rendezvous=Rendezvous(room=1))
    bench.prefill.submit(request, 0.0)
    bench.run()
    assert "timed out after 300.0s in KVPoll.Bootstrapping" in messages(seen[-1])


@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_a_request_past_the_router_is_refused_in_the_engine_words(role: str) -> None:
    bench = Bench(disaggregated=True)
    seen: list[Request] = []
    core = {"prefill": bench.prefill, "decode": bench.decode}[role]
    core.submit(Request(rid="x", ids=bench.ids(64), output_tokens=1, deliver=seen.append), 0.0)
    bench.run()
    assert messages(seen[-1]) == (
        "Invalid request: Disaggregated request received without bootstrap room id. req.rid='x'"
    )
    assert seen[-1].visible_ending.status == 400


@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_a_pretended_handoff_needs_no_other_side(role: str) -> None:
    bench = Bench(disaggregated=True)
    core = {"prefill": bench.prefill, "decode": bench.decode}[role]
    seen: list[int] = []
    request = Request(
        rid="x",
        ids=bench.ids(512),
        output_tokens=8,
        deliver=lambda told: seen.append(told.visible),
        rendezvous=Rendezvous(room=0, host=FAKE_BOOTSTRAP_HOST),
    )
    core.submit(request, 0.0)
    bench.run()
    assert seen[-1] == (1 if role == "prefill" else 8)
    assert core.pool.cached_tokens(request.ids) == 0


def test_flush_only_when_idle() -> None:
    bench = Bench()
    prompt = bench.ids(640)
    bench.send(prompt, 50)
    bench.run(until_s=0.1)
    assert not bench.unified.flush()
    bench.run()
    assert bench.unified.pool.cached_tokens(prompt) == 576
    assert bench.unified.flush()
    assert bench.unified.pool.cached_tokens(prompt) == 0


@pytest.mark.parametrize("at_s", [0.001, 0.02, 0.2, 0.5])
@pytest.mark.parametrize("disaggregated", [False, True])
def test_abort_at_any_stage_frees_everything_on_both_sides(at_s: float, disaggregated: bool) -> None:
    bench = Bench(disaggregated=disaggregated)
    sent = [bench.send(bench.ids(3000), 200)[0] for _ in range(3)]
    bench.run(until_s=at_s)
    for core in reversed(bench.cores):
        core.abort_matching()
    bench.run(until_s=at_s + 5.0)
    assert all(request.visible_ending.finish is Finish.ABORT for request in sent)
    for core in bench.cores:
        assert not core.requests
        assert core.pool.used_tokens == 0
    bench.flush()
    after, _ = bench.send(bench.ids(64), 2)
    bench.run()
    assert after.visible == 2


def test_p_that_aborts_takes_d_with_it() -> None:
    bench = Bench(disaggregated=True)
    request, _ = bench.send(bench.ids(3000), 20)
    bench.run(until_s=0.04)
    bench.prefill.abort_matching()
    bench.run()
    assert "the prefill instance aborted the request" in messages(request)
    assert bench.decode.pool.used_tokens == 0


def test_aborting_one_of_several_goes_by_prefix() -> None:
    bench = Bench()
    first, _ = bench.send(bench.ids(64), 100)
    second, _ = bench.send(bench.ids(64), 100)
    bench.run(until_s=0.1)
    bench.unified.abort_matching(first.rid)
    bench.run()
    assert (first.visible_ending.finish, second.visible_ending.finish) == (Finish.ABORT, Finish.LENGTH)


@pytest.mark.parametrize(("chunk", "tokens"), [(None, 8192), (2048, 2048), (10, 64), (-1, 160_000)])
def test_chunks_have_a_page_at_least(chunk: int | None, tokens: int) -> None:
    profile = load_profile(DEFAULT_PROFILE)
    assert settings_of(profile, transport=Transport.TCP, chunk_tokens=chunk).chunk_tokens == tokens
