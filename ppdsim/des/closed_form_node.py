"""A decode node that jumps from change to change: no event per token.

For a fixed batch a step is linear in the context, and the context grows by the number of streams at every step, so n
steps from `start` last::

    T(n) = n (p + h n),   h = b g / 2,   p = a + b C - h

with a = batch part of a step, b = seconds a token of context, C = context of the coming step, g = growing streams
(residents do not grow). The first boundary at or after `start` + x is the root, then corrected by one. Streams leave at
a step number that never changes, so a heap of (last step, turn) is touched only by joins and ends. Pages are counted by
the step at which each stream opens its next one, modulo the page size.
"""

from __future__ import annotations

import heapq
import math
from typing import Any

from ppdsim.des.clock import Tick
from ppdsim.des.decode_node import DECODING, AbstractDecodeNode


class ClosedFormNode(AbstractDecodeNode):
    """A decode node whose batch advances in closed form."""

    __slots__ = (
        "_batch_s",
        "_context",
        "_due_s",
        "_due_steps",
        "_end_step",
        "_ends",
        "_h",
        "_offset",
        "_p",
        "_paged_steps",
        "_phases",
        "_ticks",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        spec = args[2]
        # By streams: a step's part of them, and of a token of context.
        self._batch_s: dict[int, tuple[float, float]] = {}
        self._context: int = spec.residents * spec.resident_context_tokens
        self._ends: list[tuple[int, int]] = []  # heap of (last step, turn)
        self._end_step: dict[int, int] = {}
        self._offset: dict[int, int] = {}  # turn: KV tokens less steps, constant while it decodes
        self._phases = [0] * (2 * self.pool.page)  # streams that open a page at a step, modulo page; stored twice
        self._paged_steps = 0  # steps whose pages have been taken
        self._p = self._h = 0.0
        self._due_steps, self._due_s = math.inf, math.inf
        self._ticks: list[Tick] = []  # planned, the next one last
        if self.streams:
            self._decode_on(None)

    def _coming_boundary(self, time: float) -> int:
        return self.unit + self._steps_to(time)

    def _steps_to(self, time: float) -> int:
        """Return how many steps end at the first boundary at or after `time`, at least 1."""
        x, p, h = time - self.start, self._p, self._h
        if x <= p + h:
            return 1
        n = math.ceil(2.0 * x / (p + math.sqrt(p * p + 4.0 * h * x)))
        # The root may be off by one: T(n) >= x > T(n - 1) decides.
        while n * (p + h * n) < x:
            n += 1
        while n > 1 and (n - 1) * (p + h * (n - 1)) >= x:
            n -= 1
        return n if n < self._due_steps else int(self._due_steps)

    def _enter(self, turn: int, kv_tokens: int, steps: int) -> None:
        now = self.steps
        heapq.heappush(self._ends, (now + steps, turn))
        self._end_step[turn] = now + steps
        self._offset[turn] = kv_tokens - now
        self._context += kv_tokens
        self._shift_phase(now - kv_tokens, 1)

    def _leave(self, turn: int) -> tuple[int, int]:
        offset = self._offset.pop(turn)
        kv_tokens = offset + self.steps
        self._context -= kv_tokens
        self._shift_phase(-offset, -1)
        left = self._end_step.pop(turn) - self.steps
        if left:  # retracted before its end
            self._ends = [item for item in self._ends if item[1] != turn]
            heapq.heapify(self._ends)
        return kv_tokens, left

    def _shift_phase(self, phase: int, change: int) -> None:
        page = self.pool.page
        phase %= page
        self._phases[phase] += change
        self._phases[phase + page] += change

    def _done_streams(self) -> list[int]:
        ends, done = self._ends, []
        while ends and ends[0][0] == self.steps:
            done.append(heapq.heappop(ends)[1])
        return done

    def _running(self) -> list[tuple[int, int]]:
        return sorted((turn, offset + self.steps) for turn, offset in self._offset.items())

    def _next_step_pages(self) -> int:
        return self._phases[self.steps % self.pool.page]

    def _pages_for(self, steps: int) -> int:
        """Return the pages that the coming `steps` steps take, beyond what has been taken."""
        page, first = self.pool.page, self._paged_steps
        whole, rest = divmod(self.steps + steps - first, page)
        phase = first % page
        return whole * len(self._offset) + sum(self._phases[phase : phase + rest])

    def _take_pages(self, steps: int) -> None:
        last = self.steps + steps
        if last > self._paged_steps:
            pages = self._pages_for(steps)
            if pages:
                self.pool.take(pages)
            self._paged_steps = last

    def _board(self) -> int:
        self._take_pages(1)
        return self._context

    def _ride(self) -> None:
        self._context += len(self._offset)

    def sync(self, now: float) -> None:
        """Take the pages of all steps up to the one that runs at `now`."""
        if self._state == DECODING:
            self._take_pages(self._steps_to(now))

    def _decode_on(self, attend_unit: int | None) -> None:
        streams, growing = self.streams, len(self._offset)
        costs = self._batch_s.get(streams)
        if costs is None:
            curve = self._model.decode
            costs = self._batch_s[streams] = (
                float(curve.batch_s(streams)) + self._step_extra_s,
                float(curve.slope_s(streams)),
            )
        batch_s, slope_s = costs
        self._h = h = 0.5 * slope_s * growing
        self._p = batch_s + slope_s * self._context - h
        due = math.inf
        if growing:
            due = self._ends[0][0] - self.steps
            if growing * (due // self.pool.page + 1) > self.pool.available:
                due = self._steps_that_fit(due)
        if attend_unit is not None and attend_unit - self.unit < due:
            due = attend_unit - self.unit
        self._arm(due)

    def _steps_that_fit(self, steps: int) -> int:
        """Return how many of the coming `steps` steps the KV pool can hold."""
        available = self.pool.available
        if self._pages_for(steps) <= available:
            return steps
        fit, too_many = 1, steps
        while too_many - fit > 1:
            middle = (fit + too_many) // 2
            if self._pages_for(middle) <= available:
                fit = middle
            else:
                too_many = middle
        return fit

    def _attend(self, unit: int) -> None:
        steps = unit - self.unit
        if steps < self._due_steps:
            self._arm(steps)

    def _arm(self, steps: float) -> None:
        """Plan to handle the boundary after `steps` steps."""
        self._due_steps = steps
        if steps == math.inf:
            self._due_s = math.inf
            return
        self._due_s = self.start + steps * (self._p + self._h * steps)
        self._look_at_due()

    def _look_at_due(self) -> None:
        """Have a tick no later than what is due; an earlier one looks again when it fires."""
        ticks = self._ticks
        if not ticks or self._due_s < ticks[-1].time:
            ticks.append(self._clock.at(self._due_s, self._tick, None, self._priority))

    def _tick(self, tick: Tick) -> None:
        self._ticks.pop()
        if self._state != DECODING or self._due_s == math.inf:
            return
        if self._due_s > tick.time + 1e-12 * (1.0 + tick.time):
            self._look_at_due()
            return
        self._advance(int(self._due_steps))
        self._boundary()

    def _advance(self, steps: int) -> None:
        p, h = self._p, self._h
        self._take_pages(steps)
        self.log.add(self.start, steps, p, h)
        self.last_step_s = p + h * (2 * steps - 1)
        self.time = self.start = self._due_s
        self.steps += steps
        self.unit += steps
        self._context += steps * len(self._offset)
        self._after_step = True
