"""Every fault, as the calibrator's engine sees it on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from engines.sglang.standin.inprocess import InProcessEngine
from virtual_loop import run_virtually

from ppdsim import compose
from ppdsim.engines.client import Failure, RequestFailed
from ppdsim.engines.sglang.standin.build import load_profile
from ppdsim.engines.sglang.standin.faults import Fault, parse_fault
from ppdsim.engines.stand_in import DEFAULT_PROFILE
from ppdsim.errors import InputError, UnknownNameError
from ppdsim.types import Arm, Transport

PROFILE = load_profile(DEFAULT_PROFILE)
PROMPT = list(range(1000, 1300))


def on(
    use: Callable[[InProcessEngine], Coroutine[Any, Any, Any]], *, disaggregated: bool = False
) -> Any:  # the result of `use`
    async def go() -> Any:
        return await use(InProcessEngine(PROFILE, disaggregated=disaggregated))

    return run_virtually(go())


def failure_of(name: str, *, disaggregated: bool = False, timeout_s: float = 30.0) -> tuple[RequestFailed, float]:
    async def use(engine: InProcessEngine) -> tuple[RequestFailed, float]:
        engine.set_fault(parse_fault({"name": name, "times": 1}))
        begin_s = engine.now_s()
        with pytest.raises(RequestFailed) as caught:
            await engine.generate(PROMPT, 8, timeout_s=timeout_s)
        took_s = engine.now_s() - begin_s
        if name != "kill":
            # It struck once: the server is well again, and nothing was left behind.
            await engine.flush()
            found = await engine.generate(PROMPT, 8, timeout_s=timeout_s)
            assert (found.output_tokens, found.cached_tokens) == (8, 0)
        return caught.value, took_s

    return on(use, disaggregated=disaggregated)


@pytest.mark.parametrize("disaggregated", [False, True])
@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("abort", Failure.ABORTED),
        ("hang", Failure.TIMEOUT),
        ("http-500", Failure.HTTP),
        ("disconnect", Failure.DISCONNECTED),
        ("kill", Failure.DISCONNECTED),
    ],
)
def test_what_the_client_sees(name: str, failure: Failure, disaggregated: bool) -> None:
    problem, _ = failure_of(name, disaggregated=disaggregated)
    assert problem.failure is failure


def test_an_abort_is_faster_than_any_answer() -> None:
    _, took_s = failure_of("abort")
    assert took_s < 1e-3 < compose.central(PROFILE).append_ttft_s(0, len(PROMPT))


def test_a_hang_lasts_as_long_as_the_client_waits() -> None:
    problem, took_s = failure_of("hang", timeout_s=12.0)
    assert took_s == pytest.approx(12.0, abs=1e-6)
    assert "0 of 8 tokens within 12 s" in str(problem)


def test_a_killed_server_stays_dead() -> None:
    async def use(engine: InProcessEngine) -> list[Failure]:
        engine.set_fault(parse_fault({"name": "kill"}))
        failures = []
        for ask in (lambda: engine.generate(PROMPT, 8, timeout_s=9.0), engine.flush, engine.servers):
            with pytest.raises(RequestFailed) as caught:
                await ask()
            failures.append(caught.value.failure)
        return failures

    assert on(use) == [Failure.DISCONNECTED, Failure.UNREACHABLE, Failure.UNREACHABLE]


@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_a_transfer_that_fails_ends_both_sides(role: str) -> None:
    async def use(engine: InProcessEngine) -> str:
        engine.set_fault(parse_fault({"name": "transfer", "times": 1}), role)
        with pytest.raises(RequestFailed) as caught:
            await engine.generate(PROMPT, 8, timeout_s=30.0)
        assert caught.value.failure is Failure.ABORTED
        await engine.flush()
        await engine.generate(PROMPT, 8, timeout_s=30.0)
        return str(caught.value)

    assert "KVTransferError(bootstrap_room=1)" in on(use, disaggregated=True)


def test_cached_tokens_can_be_wrong() -> None:
    async def use(engine: InProcessEngine) -> list[int]:
        engine.set_fault(parse_fault({"name": "cached-tokens", "times": 1}))
        return [(await engine.generate(PROMPT, 2, timeout_s=9.0)).cached_tokens for _ in range(2)]

    assert on(use) == [64, 256]


def test_a_small_pool_refuses_what_server_info_promises() -> None:
    async def use(engine: InProcessEngine) -> str:
        engine.set_fault(parse_fault({"name": "small-pool", "amount": 256}))
        assert (await engine.servers())["unified"].kv_pool_tokens == PROFILE.kv_pool_tokens
        with pytest.raises(RequestFailed) as caught:
            await engine.generate(PROMPT, 2, timeout_s=9.0)
        engine.set_fault(None)
        await engine.generate(PROMPT, 2, timeout_s=9.0)
        return str(caught.value)

    assert "Input length (300 tokens) exceeds the maximum allowed length (250 tokens)" in on(use)


def test_a_clock_jump_breaks_the_server_times_and_not_the_client_ones() -> None:
    async def use(engine: InProcessEngine) -> tuple[float, float, float]:
        engine.set_fault(parse_fault({"name": "clock-jump", "times": 1}))
        found = await engine.generate(PROMPT, 8, timeout_s=9.0)
        return found.ttft_s, found.server["server_e2e_s"], found.server["server_finished_s"]

    ttft_s, e2e_s, finished_s = on(use)
    assert ttft_s == pytest.approx(compose.central(PROFILE).append_ttft_s(0, len(PROMPT)), abs=1e-7)
    assert e2e_s == pytest.approx(-3600.0, abs=1.0)
    assert finished_s < 0.0


def test_handoff_in_process_is_the_model() -> None:
    async def use(engine: InProcessEngine) -> float:
        return (await engine.generate(PROMPT, 8, timeout_s=9.0)).ttft_s

    expected = compose.central(PROFILE).handoff_ttft_s(Arm.P_FULL, Transport.TCP, 0, len(PROMPT))
    assert on(use, disaggregated=True) == pytest.approx(expected, abs=1e-7)


def test_streams_can_be_cancelled_and_aborted() -> None:
    async def use(engine: InProcessEngine) -> Failure:
        stream, other = (engine.start(PROMPT, 500, timeout_s=60.0) for _ in range(2))
        await stream.has(10)
        await stream.cancel()
        await engine.abort_all()
        with pytest.raises(RequestFailed) as caught:
            await other.result()
        await asyncio.sleep(1.0)
        await engine.flush()
        await engine.close()
        return caught.value.failure

    assert on(use) is Failure.ABORTED


def test_faults_are_read_with_care() -> None:
    assert parse_fault({"name": "small-pool"}).amount == 1024.0
    assert parse_fault({"name": "hang"}).fault is Fault.HANG
    with pytest.raises(UnknownNameError, match="did you mean 'hang'"):
        parse_fault({"name": "hangs"})
    with pytest.raises(UnknownNameError, match="time"):
        parse_fault({"name": "hang", "time": 1})
    with pytest.raises(InputError, match="are numbers"):
        parse_fault({"name": "hang", "times": "often"})
