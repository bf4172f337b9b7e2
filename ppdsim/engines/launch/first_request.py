"""The first request: one prompt through the servers that have just started, verified, and the times it took.

TTFT, TPOT and E2E are the client's. The KV transfer time is the servers' own, where they count their hand-offs: how
much they grew over the request, of one chunk.

Not modelled: a steady state. The first request of a server compiles and connects; it says that the way is
open, and is no measurement.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from ppdsim.engines.client import AbstractClient, Endpoints, Failure, Generation, RequestFailed
from ppdsim.errors import EnvironmentProblem

PROMPT = tuple(range(1_000, 1_500))
"""500 token ids: one chunk, not whole pages, inside every vocabulary."""
OUTPUT_TOKENS = 16
TIMEOUT_S = 120.0
METRICS_TIMEOUT_S = 3.0
"""How long the count may take to appear after the answer [s]: P counts a hand-off in a later step of its loop."""
WATCH_S = 0.2
HandOffs = Callable[[Endpoints], tuple[float, float] | None]
"""Returns seconds [s] and number of the hand-offs that servers have counted; None if none counts any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRequest:
    """What the first request took; `kv_transfer_s` is None where no server reports it."""

    ttft_s: float
    tpot_s: float | None
    e2e_s: float
    prompt_tokens: int
    output_tokens: int
    kv_transfer_s: float | None


def first_request(
    client: AbstractClient,
    endpoints: Endpoints,
    *,
    hand_offs: HandOffs,
    failure: Callable[[], str | None] = lambda: None,
    timeout_s: float = TIMEOUT_S,
) -> FirstRequest:
    """Send one request and return its times.

    Parameters
    ----------
    client : AbstractClient
        Who sends it; closed afterwards.
    endpoints : Endpoints
        Where it goes, and the servers behind it.
    hand_offs : callable
        What the servers have counted.
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
    before = hand_offs(endpoints)
    try:
        found = asyncio.run(_send(client, failure, timeout_s))
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
        kv_transfer_s=_transfer_s(lambda: hand_offs(endpoints), before),
    )


async def _send(client: AbstractClient, failure: Callable[[], str | None], timeout_s: float) -> Generation:
    request = asyncio.ensure_future(client.generate(PROMPT, OUTPUT_TOKENS, timeout_s=timeout_s))
    try:
        while not request.done():
            await asyncio.wait({request}, timeout=WATCH_S)
            if not request.done():
                _raise_if(failure())
        return request.result()
    finally:
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        await client.close()


def _raise_if(failure: str | None) -> None:
    if failure is not None:
        raise EnvironmentProblem(failure)


def _transfer_s(counted: Callable[[], tuple[float, float] | None], before: tuple[float, float] | None) -> float | None:
    """Return the mean hand-off [s] since `before`, once there is one."""
    until_s = time.monotonic() + METRICS_TIMEOUT_S
    while before is not None:
        now = counted()
        if now is not None and now[1] > before[1]:
            return (now[0] - before[0]) / (now[1] - before[1])
        if time.monotonic() > until_s:
            break
        time.sleep(0.1)
    return None
