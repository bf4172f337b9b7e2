"""Measuring a decode cell: the inter-token latency of B streams while all B run."""

from __future__ import annotations

import asyncio

import numpy as np

from ppdsim.engines.client import AbstractClient, Failure, RequestFailed
from ppdsim.measure.cells import DecodeCell
from ppdsim.measure.plan import DECODE_OUTPUT_TOKENS
from ppdsim.measure.prompts import Prompts
from ppdsim.measure.residents import RAMP_TOKENS, gaps_within, mean_generated, residents
from ppdsim.measurements import DecodeRow
from ppdsim.metrics import median

FEWEST_GAPS = 16
"""Gaps of one stream below which a window is too short to count."""
BURST_SHARE = 0.5
"""Share of the mean gap below which a median says that tokens came in bursts: the client did not read them in time."""


async def measure_decode(engine: AbstractClient, cell: DecodeCell, prompts: Prompts, *, started_s: float) -> DecodeRow:
    """Let `batch` streams run to their end and return the row of the window in which all of them ran.

    Raises
    ------
    RequestFailed
        If a stream failed, the window was too short (the engine ran them one after another), or tokens came in bursts.
    """
    await engine.flush()
    async with residents(
        engine,
        prompts,
        batch=cell.batch,
        prompt_tokens=cell.prompt_tokens,
        output_tokens=DECODE_OUTPUT_TOKENS,
    ) as streams:
        await asyncio.gather(*(stream.result() for stream in streams))
    start_s = max(stream.token_s[RAMP_TOKENS - 1] for stream in streams)
    end_s = min(stream.token_s[-1] for stream in streams)
    gaps = gaps_within(streams, start_s, end_s)
    shortest = min(len(found) for found in gaps)
    if shortest < FEWEST_GAPS:
        raise RequestFailed(
            Failure.REFUSED,
            f"only {shortest} gaps while all {cell.batch} streams ran: not enough KV, or max_running_requests too low",
        )
    every = np.concatenate(gaps)
    if median(every) < BURST_SHARE * np.mean(every):
        raise RequestFailed(
            Failure.REFUSED,
            f"half of the {len(every)} gaps are below {median(every) * 1e3:.2f} ms, their mean is"
            f" {np.mean(every) * 1e3:.2f} ms: the client could not read the tokens in time (--cpu-pin)",
        )
    return DecodeRow(
        batch=cell.batch,
        prompt_tokens=cell.prompt_tokens,
        generated_tokens=mean_generated(streams, 0.5 * (start_s + end_s)),
        gaps=len(every),
        elapsed_s=start_s - started_s,
        itl_median_s=median(every),
        itl_mean_s=float(np.mean(every)),
        window_s=end_s - start_s,
        finish_reason="length",
        purpose=cell.purpose,
        cell=cell.key,
    )
