"""Prompts run in forwards of their own; streams wait and lose what the forward takes.

The launch hides behind the streams' last step. The host delivers the tokens of that step only when the launch is done:
they come late, the gap after them is shorter by as much, and that gap less a step is what each stream loses
(`StallCurve.append_s`). At large batches that is more than the forward takes, and they come early instead.
"""

from __future__ import annotations

from ppdsim.des.step_former import AbstractStepFormer


class SeparateForwards(AbstractStepFormer):
    """A forward has parts of prompts only."""

    __slots__ = ()

    def decode_rows(self, streams: int) -> int:
        """Return 0: no stream gets a token in a forward."""
        del streams
        return 0

    def decode_rows_s(self, streams: int, context_tokens: int) -> tuple[float, float]:
        """Return nothing: a forward has no decode rows."""
        del streams, context_tokens
        return 0.0, 0.0
