"""Measuring a prefill cell: one turn on a warm prefix at idle machines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ppdsim.engines.client import AbstractClient, EngineInfo, Failure, Generation, RequestFailed
from ppdsim.measure.cells import PrefillCell
from ppdsim.measure.prompts import Prompts
from ppdsim.measure.stamps import server_times
from ppdsim.measurements import PrefillRow

OUTPUT_TOKENS = 4
"""Answer of a prefill cell [tokens]: enough to see that the server decodes at its usual pace afterwards."""
SETTLE_S = 0.01
"""Pause before a turn [s]: an engine that launches ahead runs a step more after the last token of the one before."""
TIMEOUT_S = 60.0
"""Bound on one request at idle machines [s]; ten times the slowest cell of the first grid."""


async def warm(engine: AbstractClient, prompts: Prompts, cached_tokens: int) -> list[int]:
    """Empty every cache, then make the servers hold a fresh prefix; return it.

    Raises
    ------
    RequestFailed
        If the engine does not take it.
    """
    await engine.flush()
    prefix = prompts.fresh(cached_tokens)
    if prefix:
        await engine.generate(prefix, 1, timeout_s=TIMEOUT_S)
    return prefix


def not_as_asked(
    found: Generation, *, prompt_tokens: int, cached_tokens: int, output_tokens: int, page_size_tokens: int
) -> str | None:
    """Return why a request does not count, or None.

    An engine caches whole pages, and always computes the last prompt token; the intended `cached_tokens` are a multiple
    of the page, so anything else than exactly they means that the prefix was evicted, or counted twice.
    """
    if found.prompt_tokens != prompt_tokens:
        return f"the engine counted a prompt of {found.prompt_tokens} tokens, sent {prompt_tokens}"
    if found.output_tokens != output_tokens:
        return f"{found.output_tokens} tokens came back, expected {output_tokens}"
    if found.retractions:
        return f"the engine retracted it {found.retractions} times: not enough KV for what ran"
    pages = cached_tokens // page_size_tokens * page_size_tokens
    if found.cached_tokens > prompt_tokens:
        return f"{found.cached_tokens} cached tokens of a prompt of {prompt_tokens}: counted twice"
    if found.cached_tokens != pages:
        return f"{found.cached_tokens} cached tokens, intended {pages}"
    return None


async def measure_prefill(
    engine: AbstractClient,
    info: EngineInfo,
    cell: PrefillCell,
    prompts: Prompts,
    prefix: Sequence[int],
    *,
    started_s: float,
) -> PrefillRow:
    """Send one turn and return its row.

    Raises
    ------
    RequestFailed
        If the request failed, or is not what the cell asked for.
    """
    prompt = prompts.turn(prefix, cell.new_tokens)
    await asyncio.sleep(SETTLE_S)
    found = await engine.generate(prompt, OUTPUT_TOKENS, timeout_s=TIMEOUT_S)
    reason = not_as_asked(
        found,
        prompt_tokens=len(prompt),
        cached_tokens=cell.cached_tokens,
        output_tokens=OUTPUT_TOKENS,
        page_size_tokens=info.page_size_tokens,
    )
    if reason is not None:
        raise RequestFailed(Failure.REFUSED, reason)
    return _row(cell, found, started_s)


def _row(cell: PrefillCell, found: Generation, started_s: float) -> PrefillRow:
    server = server_times(found, cell.arm)
    return PrefillRow(
        arm=cell.arm,
        transport=cell.transport,
        # An engine caches whole pages: where the cell's prefix is none, the rest of it was computed again.
        cached_tokens=found.cached_tokens,
        new_tokens=found.prompt_tokens - found.cached_tokens,
        found_cached_tokens=found.cached_tokens,
        repeat=0,
        elapsed_s=found.sent_s - started_s,
        ttft_s=found.ttft_s,
        itl_s=found.tpot_s,
        output_tokens=found.output_tokens,
        finish_reason=found.finish_reason,
        retractions=found.retractions,
        purpose=cell.purpose,
        cell=cell.key,
        **server,
    )
