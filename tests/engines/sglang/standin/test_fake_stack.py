"""Real parts around the stand-in: sglang-router with and without its mini load balancer, and mooncake's KV bytes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ppdsim import compose
from ppdsim.engines.client import Endpoints, EngineInfo, Failure, Generation, RequestFailed
from ppdsim.engines.sglang.client import SglangHttp
from ppdsim.engines.sglang.standin.build import load_profile
from ppdsim.engines.sglang.standin.stack import FakeStack, check
from ppdsim.engines.stand_in import DEFAULT_PROFILE, StackOptions
from ppdsim.errors import EnvironmentProblem, InputError
from ppdsim.types import Arm, Transport

MODEL = compose.central(load_profile(DEFAULT_PROFILE))
PROMPT = list(range(1000, 2000))
PREFIX = PROMPT[:640]


def engine_of(stack: FakeStack) -> SglangHttp:
    entry = stack.urls.get("router") or stack.urls["decode"]
    return SglangHttp(
        Endpoints(entry=entry, servers=tuple((role, url) for role, url in stack.urls.items() if role != "router"))
    )


def control(method: str, url: str, body: Any = None) -> None:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"}, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=5.0) as answer:  # noqa: S310
        assert answer.status == 200


def turn(stack: FakeStack) -> tuple[EngineInfo, Generation]:
    """Warm a prefix, send a turn, and return what the engine says of itself and of the turn."""

    async def go() -> tuple[EngineInfo, Generation]:
        engine = engine_of(stack)
        try:
            await engine.flush()
            await engine.generate(PREFIX, 1, timeout_s=20.0)
            return (await engine.servers())["decode"], await engine.generate(PROMPT, 8, timeout_s=20.0)
        finally:
            await engine.close()

    return asyncio.run(go())


def failure(stack: FakeStack, *, timeout_s: float = 10.0) -> RequestFailed:
    async def go() -> RequestFailed:
        engine = engine_of(stack)
        try:
            with pytest.raises(RequestFailed) as caught:
                await engine.generate(PROMPT, 8, timeout_s=timeout_s)
            return caught.value
        finally:
            await engine.close()

    return asyncio.run(go())


@pytest.fixture(scope="module")
def routed(require: Callable[..., str]) -> Iterator[FakeStack]:
    require("python:sglang_router")
    with FakeStack(StackOptions(router="real", decode_radix=True)) as stack:
        yield stack


def test_a_turn_through_the_real_router(routed: FakeStack) -> None:
    info, found = turn(routed)
    assert (found.finish_reason, found.output_tokens, found.prompt_tokens) == ("length", 8, 1000)
    assert found.cached_tokens == 640
    assert info.kv_pool_tokens == 160_000
    assert info.flags["disaggregation_decode_enable_radix_cache"] is True
    expected = MODEL.handoff_ttft_s(Arm.P_DELTA, Transport.TCP, 640, 360)
    # Sockets, router and a busy machine only add.
    assert expected - 2e-3 < found.ttft_s < expected + 0.5


def test_many_streams_through_the_real_router(routed: FakeStack) -> None:
    async def go() -> list[Generation]:
        engine = engine_of(routed)
        try:
            streams = [engine.start(PROMPT[: 100 + number], 12, timeout_s=30.0) for number in range(12)]
            return await asyncio.gather(*(stream.result() for stream in streams))
        finally:
            await engine.close()

    assert [found.prompt_tokens for found in asyncio.run(go())] == [100 + number for number in range(12)]


@pytest.mark.parametrize(
    ("roles", "name", "expected"),
    [
        (("prefill", "decode"), "abort", Failure.ABORTED),
        # The router shows D's answer when P has answered, and P waits for D's pages.
        (("decode",), "abort", Failure.TIMEOUT),
        (("decode",), "hang", Failure.TIMEOUT),
        (("decode",), "http-500", Failure.HTTP),
        (("decode",), "disconnect", Failure.DISCONNECTED),
        (("decode",), "transfer", Failure.ABORTED),
        (("prefill",), "transfer", Failure.ABORTED),
        # D waits for KV that does not come.
        (("prefill",), "hang", Failure.TIMEOUT),
    ],
)
def test_faults_through_the_real_router(
    routed: FakeStack, roles: tuple[str, ...], name: str, expected: Failure
) -> None:
    for role in roles:
        control("POST", routed.urls[role] + "/fault", {"name": name, "times": 1})
    # What never comes need not be waited for long; what comes may be late on a busy machine.
    timeout_s = 0.4 if expected is Failure.TIMEOUT else 10.0
    assert failure(routed, timeout_s=timeout_s).failure is expected
    _, found = turn(routed)
    assert found.cached_tokens == 640


def test_prompts_in_one_request_and_without_a_stream(routed: FakeStack) -> None:
    body = {"input_ids": PROMPT, "sampling_params": {"max_new_tokens": 3, "ignore_eos": True}}
    request = urllib.request.Request(  # noqa: S310
        routed.urls["router"] + "/generate", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10.0) as answer:  # noqa: S310
        found = json.load(answer)
    assert len(found["output_ids"]) == 3
    assert found["meta_info"]["finish_reason"] == {"type": "length", "length": 3}


def test_a_dead_prefill_server_is_named_by_d(require: Callable[..., str]) -> None:
    require("python:sglang_router")
    with FakeStack(StackOptions(router="mini-lb")) as stack:
        assert turn(stack)[1].cached_tokens == 640
        # It dies when it has the request.
        control("POST", stack.urls["prefill"] + "/fault", {"name": "kill", "after_tokens": 0})
        problem = failure(stack)
        assert stack.processes["prefill"].wait(10.0) == -signal.SIGKILL
    # What the load balancer makes of it: its own answer fails with the connection to P.
    assert problem.failure in {Failure.DISCONNECTED, Failure.HTTP}
    assert stack.processes == {}


def test_kv_bytes_travel_through_mooncake(require: Callable[..., str]) -> None:
    require("python:mooncake.engine")
    small = ("--kv-bytes-per-token", "8192", "--kv-buffers", "16")
    options = StackOptions(
        router="mini-lb", kv_transfer="mooncake", kv_pool_tokens=8192, decode_radix=True, arguments=small
    )
    require("python:sglang_router")
    with FakeStack(options) as stack:
        # D reads the marks of every block before it decodes: an answer says that all bytes are there.
        for _ in range(3):
            assert turn(stack)[1].output_tokens == 8
        control("POST", stack.urls["prefill"] + "/fault", {"name": "transfer", "times": 1})
        assert "KVTransferError" in str(failure(stack))


def test_nothing_is_left_over() -> None:
    with FakeStack(StackOptions(mode="unified")) as stack:
        groups = [process.pid for process in stack.processes.values()]
    for group in groups:
        with pytest.raises(ProcessLookupError):
            os.killpg(group, 0)


def test_a_server_that_cannot_start_says_why() -> None:
    options = StackOptions(mode="unified", arguments=("--disaggregation-mode", "sideways"))
    with pytest.raises(EnvironmentProblem, match=r"the unified ended with code 2: .*sideways"):
        FakeStack(options).__enter__()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "both"}, "--mode 'both', expected one of: unified, pd"),
        ({"router": "nginx"}, "--router 'nginx'"),
        ({"kv_transfer": "carrier"}, "--kv-transfer 'carrier'"),
        ({"fault": "flood"}, "--fault 'flood'"),
        ({"time_scale": 0.0}, "--time-scale 0"),
        ({"port_base": 80}, "--port-base 80"),
        ({"kv_pool_tokens": 10}, "--kv-pool-tokens 10"),
    ],
)
def test_options_that_contradict_each_other(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check(StackOptions(**changes))
