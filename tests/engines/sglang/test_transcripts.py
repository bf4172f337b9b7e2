"""The driver and the stand-in against streams recorded from the real engine."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from engines.sglang.standin.stand_in import free_port, options

from ppdsim.engines.client import Endpoints
from ppdsim.engines.sglang.client import SglangHttp
from ppdsim.engines.sglang.standin.server import serving
from ppdsim.measure.stamps import server_times
from ppdsim.types import Arm

LINES = (Path(__file__).parent / "transcripts" / "sglang-0.5.17.jsonl").read_text().splitlines()
TRANSCRIPTS = [json.loads(line) for line in LINES]
IDS = [f"{t['server']}-{t['prompt_tokens']}-{t['output_tokens']}-{t['repeat']}" for t in TRANSCRIPTS]
PAGE_TOKENS = 64


def body(events: list[str]) -> bytes:
    return "".join(event + "\n\n" for event in events).encode()


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=IDS)
def test_the_driver_reads_the_real_stream(transcript, require):
    require("python:aiohttp")
    from aiohttp import web

    async def replay(_: web.Request) -> web.Response:
        return web.Response(body=body(transcript["events"]), content_type="text/event-stream")

    async def go():
        app = web.Application()
        app.router.add_post("/generate", replay)
        runner = web.AppRunner(app)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        url = f"http://127.0.0.1:{port}"
        engine = SglangHttp(Endpoints(entry=url, servers=(("unified", url),)))
        try:
            prompt = [1] * transcript["prompt_tokens"]
            return await engine.generate(prompt, transcript["output_tokens"], timeout_s=10.0)
        finally:
            await engine.close()
            await runner.cleanup()

    found = asyncio.run(go())
    last = json.loads(transcript["events"][-2].removeprefix("data: "))
    assert found.token_ids == tuple(last["output_ids"])
    assert found.output_tokens == transcript["output_tokens"]
    assert found.prompt_tokens == transcript["prompt_tokens"]
    # The first time nothing is cached, then every whole page. A server that computes needs the last token anew, so its
    # page does not count; a D with a prefix cache of its own counts it, because it computes nothing.
    computed = 0 if transcript["server"] == "pd-radix" else 1
    whole_pages = (transcript["prompt_tokens"] - computed) // PAGE_TOKENS * PAGE_TOKENS
    assert found.cached_tokens == transcript["repeat"] * whole_pages
    unified = transcript["server"] == "unified"
    # Played back, it comes at once; the client of then waited for as long as the server took, which was below a second.
    waited = replace(found, sent_s=found.sent_s - 1.0)
    times = server_times(waited, Arm.APPEND_D if unified else Arm.P_FULL)
    # On a decode server that one stamp is of another clock, minutes away from the others.
    assert ("server_prefill_finished_s" in times) is unified
    stamps = [times[f"server_{name}_s"] for name in ("dispatched", "forward_entry", "first_response")]
    assert stamps == sorted(stamps)
    assert stamps[0] >= 0.0
    assert stamps[-1] < 1.0


def keys(event: str) -> tuple[set[str], dict[str, type]]:
    content = json.loads(event.removeprefix("data: "))
    meta = content["meta_info"]
    return set(content) - {"index"}, {key: type(value) for key, value in meta.items() if value is not None}


@pytest.mark.parametrize(
    "transcript", [t for t in TRANSCRIPTS if t["server"] == "unified"], ids=lambda t: str(t["repeat"])
)
def test_the_stand_in_sends_what_the_real_engine_sends(transcript, require):
    """Event by event: the same keys, of the same types, and the same end of the stream."""
    require("python:aiohttp")
    import aiohttp

    async def go() -> str:
        used = options()
        url = f"http://127.0.0.1:{used.port}/generate"
        content = {
            "input_ids": list(range(1000, 1000 + transcript["prompt_tokens"])),
            "sampling_params": {"max_new_tokens": transcript["output_tokens"], "ignore_eos": True, "temperature": 0},
            "stream": True,
        }
        async with serving(used), aiohttp.ClientSession() as session:
            for _ in range(transcript["repeat"] + 1):
                async with session.post(url, json=content) as answer:
                    text = await answer.text()
        return text

    events = [event for event in asyncio.run(go()).split("\n\n") if event]
    assert len(events) == len(transcript["events"])
    assert events[-1] == transcript["events"][-1] == "data: [DONE]"
    for mine, real in zip(events[:-1], transcript["events"][:-1], strict=True):
        top, types = keys(mine)
        real_top, real_types = keys(real)
        assert top == real_top
        missing = {key: kind for key, kind in real_types.items() if types.get(key) is not kind}
        assert not missing, f"the real engine also sends {missing}"
