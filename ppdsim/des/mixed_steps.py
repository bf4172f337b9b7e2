"""Steps that carry a token of every stream and parts of prompts, under one budget (SGLang's `enable_mixed_chunk`).

Each stream's token comes off the budget of new tokens. The cost is put together from two curves::

    mixed_s = forward_s(new tokens + riding streams) + context_s_per_token * context of the streams

the matrix work of one forward over all rows, the prompts' own attention, and the streams' KV read at the rate measured
in decode steps. A stream loses that less the decode step that it would have had. Mixed steps are unmeasured: what their
attention kernel, which serves one row and thousands at once, takes beyond this is not modelled, so results of such runs
say "assumed".
"""

from __future__ import annotations

from collections.abc import Callable

from ppdsim.des.batching import Piece, PrefillQueue
from ppdsim.des.step_former import AbstractStepFormer, StepCost, forward_s


class MixedSteps(AbstractStepFormer):
    """A step has a token of every stream, then parts of prompts."""

    __slots__ = ()

    def riding(self, streams: int) -> int:
        """Return all of them."""
        return streams

    def form(self, queue: PrefillQueue, admit: Callable[[int], int], streams: int) -> list[Piece]:
        """Take what the streams leave of the budget."""
        return queue.form(admit, streams)

    def cost(
        self, pieces: list[Piece], streams: int, context_tokens: int, running_s: float | None, step_extra_s: float
    ) -> StepCost:
        """Return the step's time; each stream loses it less a decode step and what hides behind the running one."""
        model = self._model
        seconds = forward_s(model.prefill, pieces, running_s or 0.0, streams)
        if not streams:
            return StepCost(seconds, 0.0, 0.0)
        context_s = float(model.decode.context_s_per_token) * context_tokens
        seconds += context_s
        step_s = float(model.decode.step_s(streams, context_tokens)) + step_extra_s
        if running_s is None:
            return StepCost(seconds, max(seconds - step_s, 0.0), 0.0)
        alone_s = forward_s(model.prefill, pieces, 0.0, streams) + context_s
        stall_s = float(model.stall.append_s(alone_s, running_s))
        return StepCost(seconds, max(stall_s - step_s, 0.0), seconds - stall_s)
