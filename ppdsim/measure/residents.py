"""Streams that decode together: started at once, watched while all of them run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import numpy as np

from ppdsim.engines.client import AbstractClient, Stream
from ppdsim.measure.prompts import Prompts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from numpy.typing import NDArray

RAMP_TOKENS = 8
"""Tokens of every stream that are thrown away before the window opens: the batch is still filling."""
START_TIMEOUT_S = 120.0
"""Bound on starting all streams, and on a decode cell as a whole [s]."""


@asynccontextmanager
async def residents(
    engine: AbstractClient, prompts: Prompts, *, batch: int, prompt_tokens: int, output_tokens: int
) -> AsyncIterator[list[Stream]]:
    """Start `batch` streams, yield them once every one of them is past its ramp, and cut them off at the end.

    Raises
    ------
    RequestFailed
        If one of them fails before.
    """
    streams = [
        engine.start(prompts.fresh(prompt_tokens), output_tokens, timeout_s=START_TIMEOUT_S) for _ in range(batch)
    ]
    try:
        await asyncio.gather(*(stream.has(RAMP_TOKENS) for stream in streams))
        yield streams
    finally:
        running = any(stream.task is not None and not stream.task.done() for stream in streams)
        await asyncio.gather(*(stream.cancel() for stream in streams))
        if running:
            # A router may keep the request alive when its client has gone.
            await engine.abort_all()


def gaps_within(streams: Sequence[Stream], start_s: float, end_s: float) -> list[NDArray[np.float64]]:
    """Return each stream's inter-token gaps [s] that lie wholly inside [start_s, end_s]."""
    out = []
    for stream in streams:
        times = np.asarray(stream.token_s)
        inside = times[(times >= start_s) & (times <= end_s)]
        out.append(np.diff(inside))
    return out


def gaps_touching(streams: Sequence[Stream], start_s: float, end_s: float) -> list[NDArray[np.float64]]:
    """Return each stream's inter-token gaps [s] that overlap [start_s, end_s]."""
    out = []
    for stream in streams:
        times = np.asarray(stream.token_s)
        overlap = (times[1:] > start_s) & (times[:-1] < end_s)
        out.append(np.diff(times)[overlap])
    return out


def mean_generated(streams: Sequence[Stream], time_s: float) -> float:
    """Return how many tokens the streams had generated on average at a time."""
    return float(np.mean([np.searchsorted(stream.token_s, time_s, side="right") for stream in streams]))
