"""The HTTP of one server: what a calibration client uses of SGLang, and faults that need a socket."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from engines.sglang.standin.stand_in import free_port, options

from ppdsim import compose
from ppdsim.engines.client import Endpoints, Failure, RequestFailed
from ppdsim.engines.sglang.client import SglangHttp
from ppdsim.engines.sglang.standin.build import Mode, load_profile
from ppdsim.engines.sglang.standin.flags import ServerOptions, parse
from ppdsim.engines.sglang.standin.generate import BadRequestError, read_call
from ppdsim.engines.sglang.standin.server import StandInServer, serving
from ppdsim.engines.sglang.standin.stack import FakeStack
from ppdsim.engines.stand_in import DEFAULT_PROFILE, StackOptions
from ppdsim.errors import EnvironmentProblem
from ppdsim.types import Transport

pytest.importorskip("aiohttp", reason="this machine lacks aiohttp")

MODEL = compose.central(load_profile(DEFAULT_PROFILE))
PROMPT = list(range(1000, 1300))
ALWAYS_IN_META = {
    "id",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cached_tokens_details",
    "num_retractions",
    "weight_version",
    "dp_rank",
}
"""Keys of meta_info that SGLang 0.5.17 always sends (tokenizer_manager.py)."""
METRICS_IN_META = {
    "forward_entry_time",
    "prefill_finished_time",
    "queue_time",
    "request_received_ts",
    "api_server_dispatch_finish_ts",
    "response_sent_to_client_ts",
    "request_finished_ts",
    "decode_throughput",
}
"""Keys that it sends with the last event, with --enable-metrics only."""


@dataclass
class Client:
    """A server in this process and an HTTP session."""

    server: StandInServer
    session: Any
    url: str

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        async with self.session.request(method, self.url + path, json=body) as answer:
            return answer.status, await answer.text()

    async def generate(self, **body: Any) -> tuple[int, Any]:
        content = {"input_ids": PROMPT, "sampling_params": {"max_new_tokens": 4, "ignore_eos": True}, **body}
        status, text = await self.ask("POST", "/generate", content)
        return status, json.loads(text)

    async def events(self, **body: Any) -> list[Any]:
        content = {"input_ids": PROMPT, "sampling_params": {"max_new_tokens": 4}, "stream": True, **body}
        status, text = await self.ask("POST", "/generate", content)
        assert status == 200
        *parts, last, rest = text.split("\n\n")
        assert (last, rest) == ("data: [DONE]", "")
        assert all(part.startswith("data: ") for part in parts)
        return [json.loads(part.removeprefix("data: ")) for part in parts]


@asynccontextmanager
async def client(used: ServerOptions) -> AsyncIterator[Client]:
    import aiohttp

    async with serving(used) as server, aiohttp.ClientSession() as session:
        yield Client(server, session, f"http://127.0.0.1:{used.port}")


def test_a_stream_is_events_with_the_answer_so_far() -> None:
    async def go() -> tuple[list[Any], Any]:
        async with client(options()) as one:
            streamed = await one.events()
            await one.ask("POST", "/flush_cache")
            return streamed, (await one.generate())[1]

    events, whole = asyncio.run(go())
    assert [len(event["output_ids"]) for event in events] == [1, 2, 3, 4]
    assert [event["meta_info"]["completion_tokens"] for event in events] == [1, 2, 3, 4]
    assert [event["meta_info"]["finish_reason"] for event in events[:-1]] == [None] * 3
    last = events[-1]["meta_info"]
    assert last["finish_reason"] == {"type": "length", "length": 4}
    assert (last["prompt_tokens"], last["cached_tokens"]) == (300, 0)
    assert events[0]["meta_info"].keys() >= ALWAYS_IN_META
    assert last.keys() >= ALWAYS_IN_META | METRICS_IN_META | {"e2e_latency"}
    assert (whole["output_ids"], set(whole["meta_info"])) == (events[-1]["output_ids"], set(last))


def test_times_are_only_told_with_metrics() -> None:
    async def go() -> Any:
        async with client(options(metrics=False)) as one:
            return (await one.generate())[1]

    meta = asyncio.run(go())["meta_info"]
    assert not meta.keys() & METRICS_IN_META
    assert "e2e_latency" in meta


def test_stream_output_sends_only_what_is_new() -> None:
    async def go() -> list[Any]:
        async with client(options(whole_output=False)) as one:
            return await one.events()

    assert [len(event["output_ids"]) for event in asyncio.run(go())] == [1, 1, 1, 1]


def test_several_prompts_in_one_request() -> None:
    async def go() -> tuple[list[Any], Any]:
        async with client(options()) as one:
            rows = [PROMPT, PROMPT[:100], PROMPT[:50]]
            return await one.events(input_ids=rows), (await one.generate(input_ids=rows))[1]

    events, whole = asyncio.run(go())
    ended = {event["index"]: event for event in events if event["meta_info"]["finish_reason"]}
    assert [ended[number]["meta_info"]["prompt_tokens"] for number in range(3)] == [300, 100, 50]
    assert [len(answer["output_ids"]) for answer in whole] == [4, 4, 4]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "JSON object"),
        ({}, "input_ids should be provided"),
        ({"text": "hello"}, "cannot accept text prompts"),
        ({"input_ids": []}, "list of integers"),
        ({"input_ids": [1, "2"]}, "list of integers"),
        ({"input_ids": [1] * 300}, "longer than the model's context length (200 tokens)"),
    ],
)
def test_bodies_that_are_refused(body: Any, words: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        read_call(body, context_tokens=200)
    assert words in str(caught.value)


def test_rooms_of_a_batch_are_lists() -> None:
    call = read_call(
        {"input_ids": [[1], [2]], "bootstrap_room": [7, 8], "bootstrap_host": "h", "bootstrap_port": [1, 2]}, 100
    )
    assert [(r.rendezvous.room, r.rendezvous.host, r.rendezvous.port) for r in call.requests] == [
        (7, "h", 1),
        (8, "h", 2),
    ]


def test_refusals_are_400_without_a_stream_and_an_event_in_one() -> None:
    async def go() -> list[Any]:
        used = options(Mode.DECODE)
        async with client(used) as one:
            return [await one.generate(), await one.events(), await one.generate(text="x", input_ids=None)]

    whole, events, text = asyncio.run(go())
    assert whole[0] == 400
    assert "Disaggregated request received without bootstrap room id. req.rid=" in whole[1]["error"]["message"]
    reason = events[-1]["meta_info"]["finish_reason"]
    assert (reason["type"], reason["status_code"], events[-1]["output_ids"]) == ("abort", 400, [])
    assert text[0] == 400
    assert "skip_tokenizer_init=True" in text[1]["error"]["message"]


def test_d_names_a_prefill_server_that_it_cannot_reach() -> None:
    async def go() -> Any:
        async with client(options(Mode.DECODE)) as one:
            where = {"bootstrap_host": "127.0.0.1", "bootstrap_port": free_port(), "bootstrap_room": 5}
            found = (await one.events(**where))[-1]
            assert not one.server.core.requests
            return found["meta_info"]["finish_reason"]

    reason = asyncio.run(go())
    assert (reason["type"], reason["status_code"]) == ("abort", 500)
    assert "Could not reach the prefill instance at http://127.0.0.1:" in reason["message"]


def test_p_gives_up_when_d_hangs_up() -> None:
    async def go() -> None:
        prefill = options(Mode.PREFILL, time_scale=1.0)
        async with client(prefill) as p, client(options(Mode.DECODE, time_scale=1.0)) as d:
            body = {
                "input_ids": list(range(20_000)),
                "bootstrap_host": "127.0.0.1",
                "bootstrap_port": prefill.bootstrap_port,
                "bootstrap_room": 5,
            }
            both = [asyncio.ensure_future(one.generate(**body)) for one in (p, d)]
            await asyncio.sleep(0.3)
            both[1].cancel()
            status, answer = await both[0]
            assert status == 500
            assert "Decode instance gave up the request, bootstrap_room=5" in answer["error"]["message"]
            assert not d.server.core.requests

    asyncio.run(go())


def test_flush_waits_and_refuses_while_busy() -> None:
    async def go() -> list[tuple[int, str]]:
        async with client(options(time_scale=1.0)) as one:
            running = asyncio.ensure_future(one.generate(sampling_params={"max_new_tokens": 60}))
            await asyncio.sleep(0.1)
            found = [await one.ask("POST", "/flush_cache"), await one.ask("GET", "/flush_cache?timeout=5")]
            assert (await running)[0] == 200
            return found

    busy, waited = asyncio.run(go())
    assert (busy[0], waited[0]) == (400, 200)
    assert "Cache flushed." in waited[1]


def test_what_a_server_says_of_itself() -> None:
    async def go() -> dict[str, Any]:
        flags = ["--port", str(free_port()), "--model-path", "/m", "--max-total-tokens", "4096", "--attention-backend"]
        used = parse([*flags, "fa3", "--enable-request-time-stats-logging", "--page-size", "32"], {})
        async with client(used) as one:
            paths = ("/health", "/health_generate", "/server_info", "/get_server_info", "/model_info")
            found = {path: await one.ask("GET", path) for path in (*paths, "/get_model_info", "/v1/models")}
            assert {status for status, _ in found.values()} == {200}
            return {path: json.loads(text) for path, (_, text) in found.items() if text}

    found = asyncio.run(go())
    info = found["/server_info"]
    assert info == found["/get_server_info"]
    assert (info["max_total_num_tokens"], info["page_size"], info["attention_backend"]) == (4096, 32, "fa3")
    assert (info["enable_request_time_stats_logging"], info["chunked_prefill_size"]) == (True, 8192)
    assert found["/model_info"] == found["/get_model_info"]
    assert (found["/model_info"]["model_path"], found["/model_info"]["is_generation"]) == ("/m", True)
    assert found["/v1/models"]["data"][0]["max_model_len"] == 131_072


def test_a_client_that_goes_frees_its_request() -> None:
    async def go() -> None:
        async with client(options(time_scale=1.0)) as one:
            gone = asyncio.ensure_future(one.generate(sampling_params={"max_new_tokens": 1000}))
            await asyncio.sleep(0.1)
            assert len(one.server.core.requests) == 1
            gone.cancel()
            for _ in range(200):
                if not one.server.core.requests:
                    return
                await asyncio.sleep(0.01)
            raise AssertionError("the request still runs")

    asyncio.run(go())


@pytest.mark.parametrize("body", [{"abort_all": True}, {"rid": "mine"}])
def test_abort_request_ends_a_stream(body: dict[str, Any]) -> None:
    async def go() -> list[Any]:
        async with client(options(time_scale=1.0)) as one:
            running = asyncio.ensure_future(one.events(rid="mine-1", sampling_params={"max_new_tokens": 1000}))
            await asyncio.sleep(0.1)
            assert (await one.ask("POST", "/abort_request", {"rid": ""}))[0] == 200
            assert one.server.core.requests
            assert (await one.ask("POST", "/abort_request", body))[0] == 200
            return await running

    assert asyncio.run(go())[-1]["meta_info"]["finish_reason"]["type"] == "abort"


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("abort", Failure.ABORTED),
        ("hang", Failure.TIMEOUT),
        ("http-500", Failure.HTTP),
        ("disconnect", Failure.DISCONNECTED),
        ("small-pool", Failure.ABORTED),
    ],
)
def test_faults_through_the_calibrator_client(name: str, failure: Failure) -> None:
    async def go() -> RequestFailed:
        used = options()
        async with client(used) as one:
            url = one.url
            engine = SglangHttp(Endpoints(entry=url, servers=(("unified", url),)))
            fault = {"name": name, "amount": 256} if name == "small-pool" else {"name": name, "times": 1}
            assert (await one.ask("POST", "/fault", fault))[0] == 200
            with pytest.raises(RequestFailed) as caught:
                await engine.generate(PROMPT, 8, timeout_s=1.0)
            assert (await one.ask("DELETE", "/fault"))[1] == "[]"
            await engine.flush()
            assert (await engine.generate(PROMPT, 8, timeout_s=5.0)).output_tokens == 8
            await engine.close()
            return caught.value

    assert asyncio.run(go()).failure is failure


def test_wrong_times_and_counts_through_the_calibrator_client() -> None:
    async def go() -> Any:
        used = options()
        async with client(used) as one:
            engine = SglangHttp(Endpoints(entry=one.url, servers=(("unified", one.url),)))
            for name in ("cached-tokens", "clock-jump"):
                await one.ask("POST", "/fault", {"name": name, "times": 1})
            assert json.loads((await one.ask("GET", "/fault"))[1]) == ["cached-tokens", "clock-jump"]
            found = await engine.generate(PROMPT, 8, timeout_s=5.0)
            await engine.close()
            return found

    found = asyncio.run(go())
    assert found.cached_tokens == 64
    assert found.server["server_finished_s"] < found.server["server_received_unix_s"]
    assert found.ttft_s > 0.0


def test_an_unknown_fault_is_refused_by_name() -> None:
    async def go() -> tuple[int, str]:
        async with client(options()) as one:
            return await one.ask("POST", "/fault", {"name": "hangs"})

    status, text = asyncio.run(go())
    assert status == 400
    assert "did you mean 'hang'" in text


def test_a_killed_server_is_gone() -> None:
    async def ask(url: str) -> Failure:
        engine = SglangHttp(Endpoints(entry=url, servers=(("unified", url),)))
        with pytest.raises(RequestFailed) as caught:
            await engine.generate(PROMPT, 64, timeout_s=10.0)
        await engine.close()
        return caught.value.failure

    with FakeStack(StackOptions(mode="unified", fault="kill")) as stack:
        assert asyncio.run(ask(stack.urls["unified"])) is Failure.DISCONNECTED
        assert stack.processes["unified"].wait(10.0) == -signal.SIGKILL
        assert stack.ended() == {"unified": -signal.SIGKILL}
        assert asyncio.run(ask(stack.urls["unified"])) is Failure.UNREACHABLE


def test_a_taken_port_ends_with_its_reason() -> None:
    with FakeStack(StackOptions(mode="unified")) as first:
        port = int(first.urls["unified"].rpartition(":")[2])
        # Unified is the fourth port from the base.
        second = FakeStack(StackOptions(mode="unified", port_base=port - 3))
        with pytest.raises(EnvironmentProblem, match=f"port {port} for the unified: Address already in use"):
            second.__enter__()
        assert not second.processes


def test_transport_is_what_the_engine_would_take_from_the_environment() -> None:
    environments = ({}, {"MC_FORCE_TCP": "1"}, {"MC_INTRANODE_NVLINK": "true"})
    found = [parse([], environment).transport for environment in environments]
    assert found == [Transport.TCP, Transport.TCP, Transport.NVLINK]
    assert parse(["--transport", "rdma"], environments[2]).transport is Transport.RDMA


def test_flags_are_the_engine_ones() -> None:
    command = ["--model-path", "m", "--port", "5", "--disaggregation-mode", "decode", "--stream-output", "--tp", "2"]
    used = parse(
        [*command, "--disaggregation-decode-enable-radix-cache", "--mem-fraction-static=0.85", "--x", "-1"], {}
    )
    assert (used.mode, used.port, used.decode_radix, used.whole_output) == (Mode.DECODE, 5, True, False)
    assert (used.flags["mem_fraction_static"], used.flags["x"], used.flags["tp_size"]) == ("0.85", -1, 2)


def test_times_through_sockets_are_sane() -> None:
    async def go() -> Any:
        used = options(time_scale=1.0)
        async with client(used) as one:
            engine = SglangHttp(Endpoints(entry=one.url, servers=(("unified", one.url),)))
            found = await engine.generate(list(range(2000)), 20, timeout_s=10.0)
            await engine.close()
            return found

    found = asyncio.run(go())
    expected = MODEL.append_ttft_s(0, 2000)
    # Never early; how late says how busy this machine is.
    assert expected - 2e-3 < found.ttft_s < expected + 0.5
    assert found.tpot_s > 0.5 * MODEL.decode.step_s(1, 2000)
