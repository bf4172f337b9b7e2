"""Measuring a stall cell: the delay that an arriving turn adds to running streams.

Turns are injected one after another into resident streams. Of each stream the gap is taken in which the turn's first
token came, or a larger one soon after, and the median over streams is the turn's stall gap. A token that comes late
before it, because the host was launching the forward, counts into `window_sum_s` only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from ppdsim.engines.client import AbstractClient, EngineInfo, Failure, RequestFailed, Stream
from ppdsim.measure.cells import StallCell
from ppdsim.measure.plan import INJECTED_TURNS, stall_output_tokens, stall_prefixes
from ppdsim.measure.prefill import TIMEOUT_S, not_as_asked, warm
from ppdsim.measure.prompts import Prompts
from ppdsim.measure.residents import gaps_touching, gaps_within, mean_generated, residents
from ppdsim.measurements import InterferenceRow
from ppdsim.metrics import median

QUIET_TOKENS = 12
"""Tokens that the residents generate undisturbed before each turn and after the last."""
SLOWER = 1.25
"""Share of the last turn's time that the next may take."""
TAIL_STEPS = 4
"""Steps after the injected first token that still belong to the turn's window."""


async def measure_stall(
    engine: AbstractClient,
    info: EngineInfo,
    cell: StallCell,
    prompts: Prompts,
    *,
    decode_radix: bool,
    started_s: float,
) -> InterferenceRow:
    """Inject turns into resident streams and return the row.

    `decode_radix` says that D has a prefix cache. For a full hand-off it must not hold the turn's prefix. It cannot be
    emptied beside residents, and keeps what it was sent: so each turn has a prefix of its own, and D is emptied before
    they start.

    Raises
    ------
    RequestFailed
        If a stream or a turn failed, or the residents did not all run throughout.
    """
    prefixes = [await warm(engine, prompts, cell.cached_tokens)]
    needed = stall_prefixes(cell, decode_radix=decode_radix)
    if needed > 1:
        while len(prefixes) < needed:
            prefixes.append(prompts.fresh(cell.cached_tokens))
            await engine.generate(prefixes[-1], 1, timeout_s=TIMEOUT_S)
        await engine.flush("decode")
    windows: list[tuple[float, float, float]] = []  # sent, first token, end [s]
    ttft: list[float] = []
    cached: list[int] = []
    output_tokens = stall_output_tokens(cell)
    async with residents(
        engine,
        prompts,
        batch=cell.batch,
        prompt_tokens=cell.prompt_tokens,
        output_tokens=output_tokens,
    ) as streams:
        quiet_from_s = engine.now_s()
        for number in range(INJECTED_TURNS):
            await _generate_more(streams, QUIET_TOKENS)
            if not windows:
                base_s = median(np.concatenate(gaps_within(streams, quiet_from_s, engine.now_s())))
            # Tokens reach this client at one phase of a step. What a turn waits for depends on its own phase, so the
            # turns of a cell spread over a step.
            await asyncio.sleep(base_s * number / INJECTED_TURNS)
            prompt = prompts.turn(prefixes[number % len(prefixes)], cell.new_tokens)
            found = await engine.generate(prompt, 1, timeout_s=TIMEOUT_S)
            reason = not_as_asked(
                found,
                prompt_tokens=len(prompt),
                cached_tokens=cell.cached_tokens,
                output_tokens=1,
                page_size_tokens=info.page_size_tokens,
            )
            if reason is not None:
                raise RequestFailed(Failure.REFUSED, reason)
            windows.append((found.sent_s, found.token_s[0], found.token_s[0] + TAIL_STEPS * base_s))
            ttft.append(found.ttft_s)
            cached.append(found.cached_tokens)
            left = output_tokens - max(len(stream.token_s) for stream in streams)
            if left < 2 * QUIET_TOKENS + TAIL_STEPS + SLOWER * ttft[-1] / base_s:
                break
        await _generate_more(streams, QUIET_TOKENS)
        all_running = all(stream.task is not None and not stream.task.done() for stream in streams)
        end_s = engine.now_s()
    if not all_running:
        raise RequestFailed(
            Failure.REFUSED,
            f"a resident stream ended before the last turn: {output_tokens} tokens were too few; set "
            f"turn_tokens_per_step below {cell.turn_tokens_per_step} in the plan",
        )
    touched = [gaps_touching(streams, sent, end) for sent, _, end in windows]
    stalled = [gaps_touching(streams, first, end) for _, first, end in windows]
    return InterferenceRow(
        arm=cell.arm,
        transport=cell.transport,
        batch=cell.batch,
        prompt_tokens=cell.prompt_tokens,
        generated_tokens=mean_generated(streams, 0.5 * (quiet_from_s + end_s)),
        # Whole pages, the same for every turn: anything else was refused above.
        cached_tokens=cached[0],
        new_tokens=cell.cached_tokens + cell.new_tokens - cached[0],
        found_cached_tokens=tuple(cached),
        append_ttft_s=tuple(ttft),
        stall_gap_s=tuple(median([gaps.max() for gaps in turn]) for turn in stalled),
        window_sum_s=tuple(median([gaps.sum() for gaps in turn]) for turn in touched),
        window_gaps=tuple(median([len(gaps) for gaps in turn]) for turn in touched),
        itl_base_s=base_s,
        all_running=all_running,
        elapsed_s=quiet_from_s - started_s,
        finish_reason="length",
        purpose=cell.purpose,
        cell=cell.key,
    )


async def _generate_more(streams: Sequence[Stream], tokens: int) -> None:
    await asyncio.gather(*(stream.has(len(stream.token_s) + tokens) for stream in streams))
