"""Prompts run in forwards of their own; streams wait and lose what the forward takes.

The launch hides behind the streams' last step. The host delivers the tokens of that step only when the launch is done:
they come late, the gap after them is shorter by as much, and that gap less a step is what each stream loses
(`StallCurve.append_s`). At large batches that is more than the forward takes, and they come early instead.
"""

from __future__ import annotations

from collections.abc import Callable

from ppdsim.des.batching import Piece, PrefillQueue
from ppdsim.des.step_former import AbstractStepFormer, StepCost, forward_s


class SeparateForwards(AbstractStepFormer):
    """A forward has parts of prompts only."""

    __slots__ = ()

    def riding(self, streams: int) -> int:
        """Return 0: no stream gets a token in a forward."""
        del streams
        return 0

    def form(self, queue: PrefillQueue, admit: Callable[[int], int], streams: int) -> list[Piece]:
        """Take what the whole budget holds."""
        del streams
        return queue.form(admit)

    def cost(
        self, pieces: list[Piece], streams: int, context_tokens: int, running_s: float | None, step_extra_s: float
    ) -> StepCost:
        """Return the forward's time; each stream loses it less what hides behind the running step."""
        del context_tokens, step_extra_s
        prefill = self._model.prefill
        seconds = forward_s(prefill, pieces, running_s or 0.0)
        if not streams or running_s is None:
            return StepCost(seconds, max(seconds, 0.0), 0.0)
        stall_s = float(self._model.stall.append_s(forward_s(prefill, pieces), running_s))
        return StepCost(seconds, max(stall_s, 0.0), seconds - stall_s)
