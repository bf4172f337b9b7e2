"""A decode node that jumps from change to change: no event per token.

For a fixed batch a step is linear in the context, and the context grows by the number of streams at every step, so n
steps from `start` last::

    T(n) = n (p + h n),   h = b g / 2,   p = a + b C - h

with a = batch part of a step, b = seconds a token of context, C = context of the coming step, g = growing streams
(residents do not grow). The first boundary at or after `start` + x is the root, then corrected by one. Streams leave at
a step number that never changes, so a heap of (last step, turn) is touched only by joins and ends. Pages are counted by
the step at which each stream opens its next one, modulo the page size.

A stream that joins enters the batch one step later. Where nothing else can happen at that boundary it is handled at
once, and the node's base (`time`, `start`, `steps`, `unit`) lies one step in the future: what comes before `time`
belongs to the boundary at `time`, and a policy is told of the streams without those that have entered ahead.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from typing import Any

from ppdsim.des.clock import Tick
from ppdsim.des.decode_node import DECODING, AbstractDecodeNode


class ClosedFormNode(AbstractDecodeNode):
    """A decode node whose batch advances in closed form."""

    __slots__ = (
        "_ahead",
        "_by_streams",
        "_context",
        "_due_s",
        "_due_steps",
        "_ends",
        "_growing",
        "_h",
        "_p",
        "_paged_steps",
        "_phases",
        "_ticks",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        spec = args[2]
        self._by_streams: dict[int, tuple[float, float, float]] = {}  # a, b and h of a step
        self._context: int = spec.residents * spec.resident_context_tokens
        self._ends: list[tuple[int, int]] = []  # heap of (last step, turn)
        # Streams: KV tokens less steps, constant while one decodes, and its last step.
        self._growing: dict[int, tuple[int, int]] = {}
        self._phases = [0] * (2 * self.pool.page)  # streams that open a page at a step, modulo page; stored twice
        self._paged_steps = 0  # steps whose pages have been taken
        self._p = self._h = 0.0
        self._due_steps, self._due_s = math.inf, math.inf
        self._ticks: list[Tick] = []  # planned, the next one last
        self._ahead = 0  # streams that have entered at the boundary `time`, while that lies in the future
        if self.streams:
            self._decode_on(None)

    def streams_at(self, now: float) -> int:
        """Return the streams that decode at `now`, residents included."""
        return self.streams - self._ahead if now <= self.time else self.streams

    def _coming_boundary(self, time: float) -> int:
        x, p, h = time - self.start, self._p, self._h
        if x <= p + h:
            # A boundary ahead is still to come for what comes before it.
            return self.unit if self._ahead and time <= self.time else self.unit + 1
        n = math.ceil(2.0 * x / (p + math.sqrt(p * p + 4.0 * h * x)))
        # The root may be off by one: T(n) >= x > T(n - 1) decides.
        while n * (p + h * n) < x:
            n += 1
        while n > 1 and (n - 1) * (p + h * (n - 1)) >= x:
            n -= 1
        return self.unit + (n if n < self._due_steps else int(self._due_steps))

    def _attend(self, unit: int) -> None:
        steps = unit - self.unit
        if steps < self._due_steps:
            self._arm(steps)

    def _enter(self, turn: int, kv_tokens: int, steps: int) -> None:
        now = self.steps
        heapq.heappush(self._ends, (now + steps, turn))
        self._growing[turn] = kv_tokens - now, now + steps
        self._context += kv_tokens
        phases, page = self._phases, self.pool.page
        phase = (now - kv_tokens) % page
        phases[phase] += 1
        phases[phase + page] += 1

    def _leave(self, turn: int) -> tuple[int, int]:
        offset, end_step = self._growing.pop(turn)
        now = self.steps
        kv_tokens = offset + now
        self._context -= kv_tokens
        phases, page = self._phases, self.pool.page
        phase = -offset % page
        phases[phase] -= 1
        phases[phase + page] -= 1
        if end_step > now:  # retracted before its end
            self._ends = [item for item in self._ends if item[1] != turn]
            heapq.heapify(self._ends)
        return kv_tokens, end_step - now

    def _done_streams(self) -> Sequence[int]:
        ends, now = self._ends, self.steps
        if not ends or ends[0][0] != now:
            return ()
        done = [heapq.heappop(ends)[1]]
        if ends and ends[0][0] == now:
            while ends and ends[0][0] == now:
                done.append(heapq.heappop(ends)[1])
            ended = set(done)
            done = [turn for turn in self._growing if turn in ended]
        return done

    def _arrange(self, turns: Iterable[int]) -> None:
        self._growing = {turn: self._growing[turn] for turn in turns}

    def running(self) -> list[tuple[int, int]]:
        """Return (turn, KV tokens) of the streams, residents excluded, in the order of the batch."""
        return [(turn, offset + self.steps) for turn, (offset, _) in self._growing.items()]

    def _paged(self) -> list[tuple[int, int]]:
        steps = max(self.steps, self._paged_steps)
        return [(turn, offset + steps) for turn, (offset, _) in self._growing.items()]

    def _next_step_pages(self) -> int:
        return self._phases[self.steps % self.pool.page]

    def _pages_for(self, steps: int) -> int:
        """Return the pages that the coming `steps` steps take, beyond what has been taken."""
        page, first = self.pool.page, self._paged_steps
        coming, phase = self.steps + steps - first, first % page
        if coming < page:
            return sum(self._phases[phase : phase + coming])
        return coming // page * len(self._growing) + sum(self._phases[phase : phase + coming % page])

    def _take_pages(self, steps: int) -> None:
        last = self.steps + steps
        if last > self._paged_steps:
            pages, pool = self._pages_for(steps), self.pool
            if pool.kept and pages + self.streams > pool.free:
                # Before a step a page is free for every stream; the last step is the one with the fewest.
                pool.make_free(self._pages_for(steps - 1) + len(self._growing))
            self._paged_steps = last
            if pages:
                pool.take(pages)

    def _allocate_tokens(self) -> int:
        self._take_pages(1)
        return self._context

    def _emit_tokens(self) -> None:
        self._context += len(self._growing)

    def sync(self, now: float) -> None:
        """Take the pages of all steps up to the one that runs at `now`."""
        if self._state == DECODING:
            self._take_pages(self._coming_boundary(now) - self.unit)

    def _decode_on(self, attend_unit: int | None) -> None:
        streams, growing, pool = self.streams, self._growing, self.pool
        found = self._by_streams.get(streams)
        if found is None:
            found = self._by_streams[streams] = self._step_of(streams)
        batch_s, slope_s, self._h = found
        self._p = batch_s + slope_s * self._context - self._h
        if self._joining and self._may_step_ahead():
            self._step_ahead()
            return
        due: float = math.inf
        if growing:
            due = self._ends[0][0] - self.steps
            if len(growing) * (due // pool.page + 1) > pool.free + pool.kept:
                due = self._steps_that_fit(due)
        if attend_unit is not None and attend_unit - self.unit < due:
            due = attend_unit - self.unit
        self._arm(due)

    def _step_of(self, streams: int) -> tuple[float, float, float]:
        """Return a, b and h of a step of the present batch."""
        curve = self._model.decode
        slope_s = float(curve.slope_s(streams))
        return float(curve.batch_s(streams)) + self._step_extra_s, slope_s, 0.5 * slope_s * len(self._growing)

    def _step_ahead(self) -> None:
        """Make the coming step now, let those who have joined into the batch, and go on."""
        self._due_s = self.start + (self._p + self._h)
        self._advance(1)
        self._ahead = len(self._joining)
        self._enter_all()
        self._decode_on(None)

    def _may_step_ahead(self) -> bool:
        """Return whether at the coming boundary those who have joined enter, and nothing else can happen."""
        local, ends, step = self._local, self._ends, self.steps + 1
        return not (
            self._requests.waiting
            or self._arrived
            or self.retracted
            or local.waiting
            or local.cut >= 0
            or (ends and ends[0][0] == step)
            # Room for two steps, of which those who enter take part in one.
            or 2 * (self.streams + len(self._joining)) > self.pool.free
        )

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

    def _arm(self, steps: float) -> None:
        """Plan to handle the boundary after `steps` steps: have a tick no later than that."""
        self._due_steps = steps
        if steps == math.inf:
            self._due_s = math.inf
            return
        self._due_s = due_s = self.start + steps * (self._p + self._h * steps)
        ticks = self._ticks
        if not ticks or due_s < ticks[-1].time:
            ticks.append(self._clock.at(due_s, self._tick, None, self._priority))

    def _tick(self, tick: Tick) -> None:
        ticks, due_s, time = self._ticks, self._due_s, tick.time
        ticks.pop()
        if self._state != DECODING or due_s == math.inf:
            return
        if due_s > time + 1e-12 * (1.0 + time):
            # It has come too early: look again.
            if not ticks or due_s < ticks[-1].time:
                ticks.append(self._clock.at(due_s, self._tick, None, self._priority))
            return
        if self._due_steps:
            self._advance(int(self._due_steps))
        self._ahead = 0
        self._boundary(self._done_streams())

    def _advance(self, steps: int) -> None:
        p, h = self._p, self._h
        self._take_pages(steps)
        self._context += steps * len(self._growing)
        self.log.add(self.start, steps, p, h)
        self.last_step_s = p + h * (2 * steps - 1)
        self.time = self.start = self._due_s
        self.steps += steps
        self.unit += steps
        self._after_step = True
