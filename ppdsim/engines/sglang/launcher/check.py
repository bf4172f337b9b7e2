"""The first request: one prompt through the servers that have just started, verified, and the times it took.

TTFT, TPOT and E2E are the client's. The KV transfer time is the prefill servers' own: the growth of
``sglang:kv_transfer_latency_ms`` on their /metrics over the request. The engine counts the last chunk only, and the
prompt is one chunk.

Not modelled: a steady state. The first request of a server compiles and connects; it says that the way is
open, and is no measurement.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from ppdsim import extras
from ppdsim.engines.client import Failure, Generation, RequestFailed
from ppdsim.engines.sglang.client import Endpoints, SglangHttp
from ppdsim.engines.sglang.launcher.settings import Settings
from ppdsim.errors import EnvironmentProblem
from ppdsim.limits import SERVER_INFO_BYTES
from ppdsim.units import MS_PER_S

PROMPT = tuple(range(1_000, 1_500))
"""500 token ids: one chunk, not whole pages, inside every vocabulary."""
OUTPUT_TOKENS = 16
TIMEOUT_S = 120.0
METRICS_TIMEOUT_S = 3.0
"""How long the metric may take to appear after the answer [s]: P counts the hand-off in a later step of its loop."""
WATCH_S = 0.2
_LATENCY = re.compile(r"^sglang:kv_transfer_latency_ms_(sum|count)(?:\{[^}]*\})?\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRequest:
    """What the first request took; `kv_transfer_s` is None where no server reports it."""

    ttft_s: float
    tpot_s: float | None
    e2e_s: float
    prompt_tokens: int
    output_tokens: int
    kv_transfer_s: float | None


def check_client() -> None:
    """Say before anything is started that the client cannot work.

    Raises
    ------
    EnvironmentProblem
        If aiohttp is missing.
    """
    extras.require("aiohttp", by="the client of the servers")


def check_programs(settings: Settings) -> None:
    """Say before anything is started that a program of the settings is not installed; one of the user's own may be.

    Raises
    ------
    EnvironmentProblem
        If SGLang or its router is to be started and is missing.
    """
    if settings.engine_program == Settings.model_fields["engine_program"].default:
        extras.require("sglang", by="a server", instead="ppdsim fake-stack, which needs no GPU")
    if settings.prefill_gpus and settings.router_program == Settings.model_fields["router_program"].default:
        extras.require("sglang_router", by="the router of a prefill/decode pair")


def first_request(
    endpoints: Endpoints, *, failure: Callable[[], str | None] = lambda: None, timeout_s: float = TIMEOUT_S
) -> FirstRequest:
    """Send one request and return its times.

    Parameters
    ----------
    endpoints : Endpoints
        Where it goes, and the servers behind it.
    failure : callable
        Says why a server has failed meanwhile; None while all serve.
    timeout_s : float
        Bound on the answer [s].

    Raises
    ------
    RequestFailed
        If it was not answered with exactly the tokens asked for, finish reason "length".
    EnvironmentProblem
        If a server failed meanwhile.
    """
    prefill = [url for role, url in endpoints.servers if role == "prefill"]
    before = _transfers(prefill)
    try:
        found = asyncio.run(_send(endpoints, failure, timeout_s))
    except RequestFailed:
        _raise_if(failure())
        raise
    if found.prompt_tokens != len(PROMPT):
        raise RequestFailed(
            Failure.REFUSED, f"the engine counted {found.prompt_tokens} prompt tokens, {len(PROMPT)} were sent"
        )
    return FirstRequest(
        ttft_s=found.ttft_s,
        tpot_s=found.tpot_s,
        e2e_s=found.e2e_s,
        prompt_tokens=found.prompt_tokens,
        output_tokens=found.output_tokens,
        kv_transfer_s=_transfer_s(prefill, before),
    )


async def _send(endpoints: Endpoints, failure: Callable[[], str | None], timeout_s: float) -> Generation:
    engine = SglangHttp(endpoints)
    request = asyncio.ensure_future(engine.generate(PROMPT, OUTPUT_TOKENS, timeout_s=timeout_s))
    try:
        while not request.done():
            await asyncio.wait({request}, timeout=WATCH_S)
            if not request.done():
                _raise_if(failure())
        return request.result()
    finally:
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        await engine.close()


def _raise_if(failure: str | None) -> None:
    if failure is not None:
        raise EnvironmentProblem(failure)


def _transfer_s(prefill: Iterable[str], before: tuple[float, float] | None) -> float | None:
    """Return the mean hand-off [s] since `before`, once there is one."""
    until_s = time.monotonic() + METRICS_TIMEOUT_S
    while before is not None:
        now = _transfers(prefill)
        if now is not None and now[1] > before[1]:
            return (now[0] - before[0]) / (now[1] - before[1]) / MS_PER_S
        if time.monotonic() > until_s:
            break
        time.sleep(0.1)
    return None


def _transfers(prefill: Iterable[str]) -> tuple[float, float] | None:
    """Return milliseconds and number of the hand-offs that prefill servers have counted; None if none counts any."""
    total_ms = count = 0.0
    counts = False
    for url in prefill:
        text = _metrics(url)
        # A histogram without an observation is not printed yet.
        counts = counts or "sglang:" in text
        for kind, value in _LATENCY.findall(text):
            number = float(value)
            if math.isfinite(number):
                total_ms, count = (total_ms + number, count) if kind == "sum" else (total_ms, count + number)
    return (total_ms, count) if counts else None


def _metrics(url: str) -> str:
    """Return /metrics of a server, empty where there is none."""
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=METRICS_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        if answer.status == 200:
            with suppress(UnicodeDecodeError):
                return answer.read(SERVER_INFO_BYTES.value).decode()
    except (OSError, HTTPException):
        pass
    finally:
        connection.close()
    return ""
