"""What servers say of themselves over HTTP: the pool and the longest request of each."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from ppdsim.engines.client import Endpoints, EngineInfo
from ppdsim.engines.sglang.client import SglangHttp

# As SGLang 0.5.17 answered on an H100 without --context-length; flags left out.
TOLD = {
    "version": "0.5.17",
    "max_total_num_tokens": 423_488,
    "page_size": 64,
    "chunked_prefill_size": 8192,
    "max_running_requests": None,
    "max_req_input_len": 131_066,
    "context_length": None,
}


@asynccontextmanager
async def answering(told):
    from aiohttp import web

    async def server_info(_):
        return web.json_response(told)

    app = web.Application()
    app.add_routes([web.get("/server_info", server_info)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def told_by(*servers) -> dict[str, EngineInfo]:
    async def ask():
        async with AsyncExitStack() as stack:
            urls = [(role, await stack.enter_async_context(answering({**TOLD, **told}))) for role, told in servers]
            engine = SglangHttp(Endpoints(entry=urls[0][1], servers=tuple(urls)))
            try:
                return dict(await engine.servers())
            finally:
                await engine.close()

    return asyncio.run(ask())


@pytest.fixture(autouse=True)
def _needs(require):
    require("python:aiohttp")


def test_the_longest_request_is_known_without_a_context_flag():
    (found,) = told_by(("unified", {})).values()
    assert (found.context_tokens, found.kv_pool_tokens) == (131_072, 423_488)


@pytest.mark.parametrize(
    ("told", "context"),
    [
        ({"max_req_input_len": None, "context_length": 4096}, 4096),
        ({"max_req_input_len": None}, None),
        ({"max_req_input_len": 4090, "context_length": 8192}, 4096),
    ],
    ids=["a flag only", "nothing", "both"],
)
def test_what_a_server_does_not_say_is_not_made_up(told, context):
    assert told_by(("unified", told))["unified"].context_tokens == context


def test_every_server_says_its_own_limits_under_its_own_name():
    found = told_by(
        ("prefill", {"max_total_num_tokens": 10_000, "max_req_input_len": 9_994}),
        ("prefill", {"max_total_num_tokens": 20_000}),
        ("decode", {}),
        ("decode", {"max_total_num_tokens": 300_000}),
    )
    assert {role: (one.context_tokens, one.kv_pool_tokens) for role, one in found.items()} == {
        "prefill": (10_000, 10_000),
        "prefill-1": (131_072, 20_000),
        "decode": (131_072, 423_488),
        "decode-1": (131_072, 300_000),
    }
