"""SGLang over HTTP: a unified server, or sglang-router in front of prefill and decode servers.

Prompts are token ids, greedy, of a fixed number of output tokens (``ignore_eos``). Token counts come from the
``completion_tokens`` of each server-sent event, times are when the event's bytes reached this process
(``time.perf_counter``). Every request is bounded; when its bound passes it is aborted on the servers, because a request
that D cannot hold keeps P waiting for 300 s otherwise. Source: SGLang 0.5.17 entrypoints/http_server.py,
managers/tokenizer_manager.py.

What it does not know: how long the client's own event loop was busy; the calibrator pins and watches it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppdsim.calibrate.drivers.base import AbstractEngine, EngineInfo, Failure, Generation, RequestFailed, Stream

if TYPE_CHECKING:
    import aiohttp

CONTROL_TIMEOUT_S = 30.0
"""Bound on flush, info and abort [s]; a flush waits for the server to be idle."""
SERVER_TIMES = (
    "request_received_ts",
    "api_server_dispatch_finish_ts",
    "forward_entry_time",
    "prefill_finished_time",
    "response_sent_to_client_ts",
    "request_finished_ts",
    "queue_time",
    "e2e_latency",
    "decode_throughput",
)
"""Names of the engine's own times in meta_info that are kept; SGLang 0.5.17 with --enable-metrics."""
RESERVED_TOKENS = 6
"""What ``max_req_input_len`` lacks of the longest request [tokens]; SGLang 0.5.17 managers/tp_worker.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """URLs: where requests go, and the servers behind it by role (``prefill``, ``decode`` or ``unified``)."""

    entry: str
    servers: tuple[tuple[str, str], ...]


class SglangHttp(AbstractEngine):
    """SGLang's native API through aiohttp."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._session: aiohttp.ClientSession | None = None

    def _http(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            # A keep-alive connection that the server has just closed would fail a measurement: none is reused.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self._session

    def now_s(self) -> float:
        """Return the process's monotonic clock [s]."""
        return time.perf_counter()

    def start(self, prompt: Sequence[int], output_tokens: int, *, timeout_s: float) -> Stream:
        """Send the prompt to the entry point."""
        stream = Stream(self.now_s())
        body = {
            "input_ids": list(prompt),
            "sampling_params": {"temperature": 0, "max_new_tokens": output_tokens, "ignore_eos": True},
            "stream": True,
        }
        stream.task = asyncio.ensure_future(self._bounded(stream, body, output_tokens, timeout_s))
        # A stream that nobody awaits after a failure elsewhere must not complain when it is collected.
        stream.task.add_done_callback(lambda task: None if task.cancelled() else task.exception())
        return stream

    async def _bounded(self, stream: Stream, body: dict[str, Any], wanted: int, timeout_s: float) -> Generation:
        import aiohttp

        try:
            return await asyncio.wait_for(self._run(stream, body, wanted), timeout_s)
        except asyncio.TimeoutError:
            await self.abort_all()
            got = len(stream.token_s)
            raise RequestFailed(Failure.TIMEOUT, f"{got} of {wanted} tokens within {timeout_s:g} s") from None
        except aiohttp.ClientConnectorError as error:
            raise RequestFailed(Failure.UNREACHABLE, f"{self._endpoints.entry}: {error}") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            got = len(stream.token_s)
            raise RequestFailed(Failure.DISCONNECTED, f"after {got} of {wanted} tokens: {error!r}") from None

    async def _run(self, stream: Stream, body: dict[str, Any], wanted: int) -> Generation:
        meta: Mapping[str, Any] = {}
        ids: list[int] = []
        stream.sent_s = self.now_s()
        async with self._http().post(self._endpoints.entry + "/generate", json=body) as answer:
            if answer.status != 200:
                raise RequestFailed(Failure.HTTP, f"status {answer.status}: {(await answer.text())[:200]}")
            async for line in answer.content:
                arrived_s = self.now_s()
                if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
                    continue
                event = json.loads(line[5:])
                if "error" in event:
                    raise RequestFailed(Failure.REFUSED, str(event["error"])[:200])
                meta = event["meta_info"]
                total = int(meta["completion_tokens"])
                stream.arrived(arrived_s, total)
                # Whole answer so far, or only what is new, according to the server's --stream-output.
                part = event.get("output_ids") or []
                ids = part if len(part) == total else [*ids, *part]
        return _finished(stream, meta, wanted, tuple(ids))

    async def flush(self, role: str = "all") -> None:
        """Empty the prefix caches over /flush_cache."""
        for name, url in self._endpoints.servers:
            if role in ("all", name) or name == "unified":
                await self._control("POST", f"{url}/flush_cache?timeout={CONTROL_TIMEOUT_S:g}")

    async def abort_all(self) -> None:
        """Abort everything over /abort_request."""
        for _, url in self._endpoints.servers:
            with suppress(RequestFailed):
                await self._control("POST", f"{url}/abort_request", {"abort_all": True})

    async def servers(self) -> Mapping[str, EngineInfo]:
        """Read /server_info of each, after /health of the entry point."""
        if all(url != self._endpoints.entry for _, url in self._endpoints.servers):
            await self._control("GET", f"{self._endpoints.entry}/health")
        found: dict[str, EngineInfo] = {}
        for role, url in self._endpoints.servers:
            number = sum(name.split("-")[0] == role for name in found)
            found[f"{role}-{number}" if number else role] = await self._info(url)
        return found

    async def _info(self, url: str) -> EngineInfo:
        found = json.loads(await self._control("GET", f"{url}/server_info"))
        return EngineInfo(
            name="sglang",
            version=str(found.get("version", "unknown")),
            model=str(found.get("model_path") or "unknown").rstrip("/").rsplit("/", 1)[-1],
            kv_pool_tokens=int(found["max_total_num_tokens"]),
            page_size_tokens=int(found["page_size"]),
            chunked_prefill_size=int(found["chunked_prefill_size"]),
            max_running_requests=found.get("max_running_requests"),
            context_tokens=_longest_request_tokens(found),
            flags={name: value for name, value in found.items() if _is_shown(name, value)},
        )

    async def close(self) -> None:
        """Close the HTTP session."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _control(self, method: str, url: str, body: dict[str, Any] | None = None) -> str:
        import aiohttp

        bound = aiohttp.ClientTimeout(total=CONTROL_TIMEOUT_S + 5.0)
        try:
            async with self._http().request(method, url, json=body, timeout=bound) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError) as error:
            raise RequestFailed(Failure.UNREACHABLE, f"{url}: {error!r}") from None
        if answer.status != 200:
            raise RequestFailed(Failure.HTTP, f"{url}: status {answer.status}: {text[:200]}")
        return str(text)


def _longest_request_tokens(info: Mapping[str, Any]) -> int | None:
    """Return the longest request of a server [tokens]; ``context_length`` is null where no flag sets it."""
    if isinstance(info.get("max_req_input_len"), int):
        return int(info["max_req_input_len"]) + RESERVED_TOKENS
    return int(info["context_length"]) if isinstance(info.get("context_length"), int) else None


def _is_shown(name: str, value: object) -> bool:
    """Return whether a server argument may be kept: where files lie and who may ask is nobody's business.

    Without another name given, a model is served under its path.
    """
    secret = name.endswith(("_path", "_dir", "_key", "_keyfile", "_password", "_token")) or name == "served_model_name"
    return isinstance(value, (bool, int, float, str)) and not secret


def _finished(stream: Stream, meta: Mapping[str, Any], wanted: int, token_ids: tuple[int, ...]) -> Generation:
    """Return the finished request, or say how it ended; a fast first byte proves nothing."""
    reason = meta.get("finish_reason")
    kind = reason.get("type", "unknown") if isinstance(reason, dict) else str(reason)
    if kind == "abort":
        text = reason.get("message", "") if isinstance(reason, dict) else ""
        raise RequestFailed(Failure.ABORTED, f"the engine aborted it after {len(stream.token_s)} tokens: {text[:200]}")
    if len(stream.token_s) != wanted or kind != "length":
        raise RequestFailed(
            Failure.DISCONNECTED, f"{len(stream.token_s)} of {wanted} tokens, finish reason '{kind}', expected 'length'"
        )
    return Generation(
        sent_s=stream.sent_s,
        token_s=tuple(stream.token_s),
        finish_reason=kind,
        prompt_tokens=int(meta["prompt_tokens"]),
        cached_tokens=int(meta["cached_tokens"]),
        token_ids=token_ids,
        retractions=int(meta.get("num_retractions") or 0),
        server={name: float(meta[name]) for name in SERVER_TIMES if isinstance(meta.get(name), (int, float))},
    )
