"""A decode node with one event per engine step: the oracle of :mod:`ppdsim.des.closed_form_node`.

Every quantity is counted stream by stream and step by step, in the plainest way; times differ from the closed form's by
rounding only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ppdsim.des.clock import Tick
from ppdsim.des.decode_node import AbstractDecodeNode


class SteppedNode(AbstractDecodeNode):
    """A decode node that handles every step boundary."""

    __slots__ = ("_allocated", "_batch", "_resident_context")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        spec = args[2]
        self._batch: dict[int, list[int]] = {}  # turn: [KV tokens, steps left]
        self._allocated = 0  # 1 while a step runs for which the streams' pages are taken
        self._resident_context = spec.residents * spec.resident_context_tokens
        if self.streams:
            self._decode_on(None)

    def _coming_boundary(self, time: float) -> int:
        del time
        return self.unit + 1

    def _enter(self, turn: int, kv_tokens: int, steps: int) -> None:
        self._batch[turn] = [kv_tokens, steps]

    def _leave(self, turn: int) -> tuple[int, int]:
        kv_tokens, steps = self._batch.pop(turn)
        return kv_tokens, steps

    def _done_streams(self) -> list[int]:
        return [turn for turn, (_, steps) in self._batch.items() if steps == 0]

    def _arrange(self, turns: Iterable[int]) -> None:
        self._batch = {turn: self._batch[turn] for turn in turns}

    def running(self) -> list[tuple[int, int]]:
        """Return (turn, KV tokens) of the streams, residents excluded, in the order of the batch."""
        return [(turn, kv_tokens) for turn, (kv_tokens, _) in self._batch.items()]

    def _paged(self) -> list[tuple[int, int]]:
        return [(turn, kv_tokens + self._allocated) for turn, (kv_tokens, _) in self._batch.items()]

    def _next_step_pages(self) -> int:
        return sum(kv_tokens % self.pool.page == 0 for kv_tokens, _ in self._batch.values())

    def _allocate_tokens(self) -> int:
        self.pool.make_free(len(self._batch))
        self.pool.take(self._next_step_pages())
        self._allocated = 1
        context: int = self._resident_context + sum(kv_tokens for kv_tokens, _ in self._batch.values())
        return context

    def _emit_tokens(self) -> None:
        self._allocated = 0
        for stream in self._batch.values():
            stream[0] += 1
            stream[1] -= 1

    def streams_at(self, now: float) -> int:
        """Return the streams that decode at `now`, residents included."""
        del now
        return self.streams

    def sync(self, now: float) -> None:
        """Do nothing: the pages of a running step are taken when it starts."""

    def _attend(self, unit: int) -> None:
        """Do nothing: every boundary is handled."""

    def _decode_on(self, attend_unit: int | None) -> None:
        del attend_unit
        self.last_step_s = float(self._model.decode.step_s(self.streams, self._allocate_tokens())) + self._step_extra_s
        self._clock.at(self.start + self.last_step_s, self._step_done, None, self._priority)

    def _step_done(self, tick: Tick) -> None:
        self.log.add(self.start, 1, tick.time - self.start, 0.0)
        self._emit_tokens()
        self.time = self.start = tick.time
        self.steps += 1
        self.unit += 1
        self._after_step = True
        self._boundary(self._done_streams())
