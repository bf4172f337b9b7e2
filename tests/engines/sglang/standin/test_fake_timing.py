"""On a virtual clock the stand-in is exactly as fast as the model that drives it."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import pytest
from engines.sglang.standin.stand_in import MODEL, Bench

from ppdsim.types import Arm, Transport

CACHED = (0, 64, 256, 4096, 32_768)
NEW = (1, 40, 64, 600, 1500, 8192, 16_384, 29_491)


def test_an_append_takes_what_the_model_says() -> None:
    bench = Bench()
    for cached, new in itertools.product(CACHED, NEW):
        assert bench.ttft_s(cached, new) == pytest.approx(MODEL.append_ttft_s(cached, new), abs=1e-10), (cached, new)


@pytest.mark.parametrize(
    ("arm", "transport"),
    [
        (Arm.P_FULL, Transport.TCP),
        (Arm.P_FULL, Transport.NVLINK),
        (Arm.P_FULL, Transport.RDMA),
        (Arm.P_DELTA, Transport.TCP),
    ],
)
def test_a_handoff_takes_what_the_model_says(arm: Arm, transport: Transport) -> None:
    bench = Bench(disaggregated=True, transport=transport, decode_radix=arm is Arm.P_DELTA)
    for cached, new in itertools.product(CACHED, NEW):
        expected = MODEL.handoff_ttft_s(arm, transport, cached, new)
        assert bench.ttft_s(cached, new) == pytest.approx(expected, abs=1e-10), (cached, new)


def test_a_cold_prefill_server_computes_everything() -> None:
    bench = Bench(disaggregated=True, decode_radix=True)
    prefix = bench.ids(4096)
    bench.send(prefix, 1)
    bench.run()
    bench.prefill.flush()
    begin_s = bench.clock.now_s() + 1.0
    _, log = bench.send([*prefix, *bench.ids(512)], 1, at_s=begin_s)
    bench.run()
    expected = MODEL.handoff_ttft_s(Arm.P_DELTA, Transport.TCP, 4096, 512, 0)
    assert log.times_s[0] - begin_s == pytest.approx(expected, abs=1e-10)


def test_thousands_of_points_take_seconds() -> None:
    bench = Bench(kv_pool_tokens=4096)
    begin_s = time.monotonic()
    found = {round(bench.ttft_s(0, 64), 12) for _ in range(2000)}
    assert len(found) == 1
    assert time.monotonic() - begin_s < 10.0


@pytest.mark.parametrize("batch", [1, 3, 6, 8, 20])
@pytest.mark.parametrize("disaggregated", [False, True])
def test_streams_step_together_at_the_model_pace(batch: int, disaggregated: bool) -> None:
    bench = Bench(disaggregated=disaggregated)
    logs = [bench.send(bench.ids(500), 300)[1] for _ in range(batch)]
    bench.run()
    start_s = max(log.times_s[1] for log in logs)  # who joins beside streams misses the step that is launched
    ends = {log.times_s[-1] for log in logs}
    inside = [[time for time in log.times_s if start_s < time <= min(ends)] for log in logs]
    assert all(times == inside[0] for times in inside)
    assert len(inside[0]) > 20
    log, times = logs[0], inside[0]
    for before_s, after_s in itertools.pairwise(times):
        generated = [sum(time <= before_s for time in one.times_s) for one in logs]
        context = sum(500 + tokens - 1 for tokens in generated)
        expected = MODEL.decode.step_s(batch, context)
        assert after_s - before_s == pytest.approx(expected, abs=1e-10)
    assert len(log.seen) == 300


@pytest.mark.parametrize(("cached", "new"), [(0, 64), (4096, 2048), (1024, 10_000)])
@pytest.mark.parametrize("batch", [1, 16])
def test_an_append_opens_the_gap_of_the_model_in_every_stream(cached: int, new: int, batch: int) -> None:
    bench = Bench()
    prefix = bench.ids(cached)
    if prefix:
        bench.send(prefix, 1)
        bench.run()
    streams = [bench.send(bench.ids(1000), 400) for _ in range(batch)]
    begin_s = bench.clock.now_s() + 1.0
    request, _ = bench.send([*prefix, *bench.ids(new)], 1, at_s=begin_s)
    bench.run()
    assert request.cached_tokens == cached
    for stream, log in streams:
        assert stream.generated == 400
        gaps = [after - before for before, after in itertools.pairwise(log.times_s) if after > begin_s]
        if new <= 8192:
            # The gap in which the append's first token came, and the one before it: launch and floor of the forward
            # hide behind its step, and its tokens come late or early by what that leaves.
            first_s = request.first_s
            number = next(i for i, time in enumerate(log.times_s[-len(gaps) :]) if time > first_s)
            context = batch * 1000 + sum(
                sum(time <= log.times_s[-len(gaps) - 1 + number] for time in other.times_s) - 1 for _, other in streams
            )
            step_s = MODEL.decode.step_s(batch, context)
            last_step_s = MODEL.decode.step_s(batch, context - batch)
            stall_s = MODEL.stall.append_s(MODEL.prefill.seconds(new, cached, 8192), last_step_s)
            forward_s = MODEL.prefill.seconds(new, cached, 8192, last_step_s)
            # A token cannot be shown before the step that gives it has ended.
            late_s = max(forward_s - stall_s, -MODEL.frontend.after_s())
            assert gaps[number] == pytest.approx(forward_s - late_s + step_s, abs=1e-10)
            assert gaps[number - 1] == pytest.approx(last_step_s + late_s, abs=1e-10)
            assert max(gaps) == max(gaps[number - 1 : number + 1])
        else:
            # All chunks run in a row: prefill goes first.
            seconds = MODEL.prefill.seconds(new, cached, 8192, MODEL.decode.step_s(batch, batch * 1000))
            assert seconds < max(gaps) < seconds + MODEL.decode.step_s(batch, batch * 1400)


def test_the_first_step_of_an_idle_d_and_a_join_beside_streams_take_longer() -> None:
    bench = Bench(disaggregated=True)
    _, first = bench.send(bench.ids(1000), 300)
    _, second = bench.send(bench.ids(1000), 30, at_s=0.5)
    bench.run()
    step_s = MODEL.decode.step_s(1, 1000)
    assert first.times_s[1] - first.times_s[0] == pytest.approx(step_s + MODEL.decode.start_s, abs=1e-10)
    assert first.times_s[2] - first.times_s[1] == pytest.approx(MODEL.decode.step_s(1, 1001), abs=1e-10)
    # Its first token comes with one of the other stream's, its second two steps later.
    with_first = first.times_s.index(second.times_s[0])
    assert second.times_s[1] == first.times_s[with_first + 2]


def test_a_p_that_runs_a_forward_answers_when_that_ends() -> None:
    bench = Bench(disaggregated=True)
    _, log = bench.send(bench.ids(1024), 4)
    bench.send(bench.ids(8192), 1, at_s=0.02)
    begin_s = 2.0
    bench.send(bench.ids(1024), 4, at_s=begin_s)
    bench.run()
    beside, _, alone = (answer.times_s[0] for answer in bench.answers)
    forwards_s = MODEL.prefill.seconds(1024, 0, 8192) + MODEL.prefill.seconds(8192, 0, 8192)
    # Its own KV is on D long before the forward behind it has ended.
    assert log.times_s[-1] < forwards_s
    assert beside > forwards_s
    idle_s = MODEL.handoff_ttft_s(Arm.P_FULL, Transport.TCP, 0, 1024) - MODEL.handoff(Arm.P_FULL, Transport.TCP).join_s
    assert alone - begin_s == pytest.approx(idle_s, abs=1e-10)


def test_a_join_pauses_the_streams_of_d() -> None:
    model = replace(MODEL, stall=replace(MODEL.stall, handoff_s=4e-3))
    gaps = {}
    for name, used in (("free", MODEL), ("paid", model)):
        bench = Bench(disaggregated=True, model=used)
        _, log = bench.send(bench.ids(1000), 300)
        bench.send(bench.ids(512), 1, at_s=1.0)
        bench.run()
        gaps[name] = max(after - before for before, after in itertools.pairwise(log.times_s) if before > 0.5)
    assert gaps["paid"] - gaps["free"] == pytest.approx(4e-3, abs=1e-5)


@pytest.mark.parametrize("late_s", [0.3, -0.3])
def test_a_handoff_waits_for_the_side_that_comes_late(late_s: float) -> None:
    bench = Bench(disaggregated=True)
    _, log = bench.send(bench.ids(512), 1, late_s=late_s)
    bench.run()
    expected = MODEL.handoff_ttft_s(Arm.P_FULL, Transport.TCP, 0, 512)
    assert log.times_s[0] == pytest.approx(0.3 + expected, abs=1e-10)


def test_prefill_is_first_come_first_served_and_transfers_queue_on_the_link() -> None:
    bench = Bench(disaggregated=True)
    logs = [bench.send(bench.ids(4096), 1, at_s=0.001 * number)[1] for number in range(4)]
    bench.run()
    firsts = [log.times_s[0] for log in logs]
    assert firsts == sorted(firsts)
    wire_s = MODEL.handoff(Arm.P_FULL, Transport.TCP).wire_s(4096, 0)
    assert firsts[-1] - firsts[-2] == pytest.approx(wire_s, abs=MODEL.decode.step_s(1, 4096) + 2e-3)


def test_answers_are_kept_as_a_prefix_except_on_p() -> None:
    unified = Bench()
    prompt = unified.ids(200)
    request, _ = unified.send(prompt, 100)
    unified.run()
    # The last token of an answer has no KV.
    assert unified.unified.pool.cached_tokens([*prompt, *request.answer(100), 5]) == 256
    pair = Bench(disaggregated=True, decode_radix=True)
    request, _ = pair.send(prompt, 100)
    pair.run()
    whole = [*prompt, *request.answer(100), 5]
    assert (pair.prefill.pool.cached_tokens(whole), pair.decode.pool.cached_tokens(whole)) == (192, 256)
