"""How a node forms its next step when prompts wait: which parts of them, beside which streams, and what that takes.

Two rules are known (`ppdsim.engine_record.ChunkRule`): forwards of prompts alone (:mod:`ppdsim.des.separate_forwards`)
and steps that carry streams and prompts together (:mod:`ppdsim.des.mixed_steps`). A step without prompts is the node's
own: a decode step is the same in both.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import NamedTuple

from ppdsim.cost.prefill import PrefillCurve, PrefillWork
from ppdsim.des.batching import Piece, PrefillQueue
from ppdsim.turn import TurnModel


class StepCost(NamedTuple):
    """What a formed step takes.

    `seconds` is its length, `lost_s` what each stream beside it loses, and `late_s` by how much the tokens of the step
    before it come late [s].
    """

    seconds: float
    lost_s: float
    late_s: float


class AbstractStepFormer(abc.ABC):
    """Forms the steps of one node."""

    __slots__ = ("_model",)

    def __init__(self, model: TurnModel) -> None:
        self._model = model

    @abc.abstractmethod
    def decode_rows(self, streams: int) -> int:
        """Return how many of the streams that decode get a token in a step with prompts."""

    @abc.abstractmethod
    def decode_rows_s(self, streams: int, context_tokens: int) -> tuple[float, float]:
        """Return what the KV of the decode rows adds to the step, and the decode step that it replaces for each [s]."""

    def form(self, queue: PrefillQueue, admit: Callable[[int], int], streams: int) -> list[Piece]:
        """Take the parts of prompts of the next step beside `streams`; see :meth:`PrefillQueue.form`."""
        return queue.form(admit, self.decode_rows(streams))

    def cost(
        self, pieces: list[Piece], streams: int, context_tokens: int, running_s: float | None, step_extra_s: float
    ) -> StepCost:
        """Return what a step with these pieces costs.

        Parameters
        ----------
        streams, context_tokens : int
            Streams beside it, and the KV of those that have a row in it.
        running_s : float or None
            Length of the decode step behind which it is launched [s]; None: nothing hides the launch.
        step_extra_s : float
            What every decode step of the node takes beyond its curve [s].
        """
        prefill, decode_rows = self._model.prefill, self.decode_rows(streams)
        seconds = forward_s(prefill, pieces, running_s or 0.0, decode_rows)
        if not streams:
            return StepCost(seconds, 0.0, 0.0)
        kv_s, step_s = self.decode_rows_s(streams, context_tokens)
        seconds += kv_s
        replaced_s = step_s + step_extra_s if decode_rows else 0.0
        if running_s is None:
            return StepCost(seconds, max(seconds - replaced_s, 0.0), 0.0)
        stall_s = float(self._model.stall.append_s(forward_s(prefill, pieces, 0.0, decode_rows) + kv_s, running_s))
        return StepCost(seconds, max(stall_s - replaced_s, 0.0), seconds - stall_s)


def forward_s(curve: PrefillCurve, pieces: list[Piece], hidden_s: float = 0.0, decode_rows: int = 0) -> float:
    """Return the seconds of one forward over `pieces`, launched while a decode step runs for `hidden_s` more [s].

    It has one row for each of `decode_rows` streams, without their KV.
    """
    if len(pieces) == 1 and not decode_rows:
        piece = pieces[0]
        return float(curve.forward_s(curve.work(piece.tokens, piece.before), hidden_s, further=not piece.first))
    works = [curve.work(piece.tokens, piece.before) for piece in pieces]
    tokens, attention, cached = (sum(field) for field in zip(*works, strict=True))
    return float(
        curve.forward_s(PrefillWork(tokens + decode_rows, attention, cached), hidden_s, further=not pieces[0].first)
    )
