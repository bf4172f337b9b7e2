"""Steps that carry a token of every stream and parts of prompts, under one budget (`ChunkRule.MIXED_STEPS`).

Each stream's token comes off the budget of new tokens. The cost is put together from two curves::

    mixed_s = forward_s(new tokens + decode rows) + context_s_per_token * context of the streams

the matrix work of one forward over all rows, the prompts' own attention, and the streams' KV read at the rate measured
in decode steps. A stream loses that less the decode step that it would have had. Mixed steps are unmeasured: what their
attention kernel, which serves one row and thousands at once, takes beyond this is not modelled, so results of such runs
say "assumed".
"""

from __future__ import annotations

from ppdsim.des.step_former import AbstractStepFormer


class MixedSteps(AbstractStepFormer):
    """A step has a token of every stream, then parts of prompts."""

    __slots__ = ()

    def decode_rows(self, streams: int) -> int:
        """Return all of them."""
        return streams

    def decode_rows_s(self, streams: int, context_tokens: int) -> tuple[float, float]:
        """Return the time of the streams' KV read, and of a decode step of all of them."""
        decode = self._model.decode
        return float(decode.context_s_per_token) * context_tokens, float(decode.step_s(streams, context_tokens))
