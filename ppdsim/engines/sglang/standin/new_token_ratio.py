"""The share of what running answers may still need that a stand-in server keeps free when it admits a prompt.

It falls with every decode step, is estimated again after a retraction, and starts again on an idle server. Source:
SGLang 0.5.17 managers/scheduler_components/new_token_ratio_tracker.py, environ.py; scheduler.py update_running_batch,
on_idle.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppdsim.engines.sglang.environ import (
    MIN_NEW_TOKEN_RATIO_FACTOR,
    NEW_TOKEN_RATIO_DECAY_STEPS,
    RETRACT_DECODE_STEPS,
)
from ppdsim.engines.sglang.standin.request import Request


class Tracker:
    """`current` is the ratio [1]."""

    def __init__(self, first: float) -> None:
        self._first = self.current = first
        self._lowest = MIN_NEW_TOKEN_RATIO_FACTOR * first
        self._decay = (first - self._lowest) / NEW_TOKEN_RATIO_DECAY_STEPS

    def step(self) -> None:
        """Note a decode step before which no stream was retracted."""
        self.current = max(self.current - self._decay, self._lowest)

    def estimate(self, streams: Sequence[Request]) -> None:
        """Start from the streams that are left after a retraction, whose last token the scheduler has not seen."""
        generated = sum(stream.generated - 1 for stream in streams)
        wanted = sum(stream.output_tokens for stream in streams)
        self.current = min(1.0, (generated + RETRACT_DECODE_STEPS * len(streams)) / (wanted + 1))

    def reset(self) -> None:
        """Start again: the server is idle."""
        self.current = self._first
