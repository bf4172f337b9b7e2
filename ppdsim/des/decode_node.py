"""A node that decodes: D, pD or U. What happens at a step boundary, whoever computes when boundaries are.

At a boundary, in this order: streams that have their last token leave (in order of turn); retracted streams resume;
when none is left, turns whose KV has arrived join, and their first token is streamed; hand-offs are pre-allocated; then
either a prefill forward runs (prefill first, all chunks of a prompt in a row) or a decode step, before which streams
are retracted until its pages fit. Roles differ by what reaches the node, not by code. Subclasses say when the next
boundary is.

What it does not know: mixed chunks, the cost of copying retracted KV, speculative decoding.
"""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Callable

from ppdsim.des.backlog import Backlog
from ppdsim.des.batching import Piece, PrefillQueue, forward_s
from ppdsim.des.clock import BOUNDARY, Clock, Tick
from ppdsim.des.handoff_queue import HandoffQueue
from ppdsim.des.kv_blocks import make_pool
from ppdsim.des.spec import HANDOFF_ROLES, ClusterSpec
from ppdsim.des.step_log import StepLog
from ppdsim.des.turns import Turns
from ppdsim.errors import ScenarioError

IDLE, DECODING, FORWARD = 0, 1, 2


class AbstractDecodeNode(abc.ABC):
    """One D, pD or U machine: node `number` of the fleet.

    Boundaries are counted (`unit`): one at the end of every decode step and of every forward. Times: `time` is the last
    boundary handled, `start` where the running step or forward began (later than `time` only by what hand-offs take).

    Parameters
    ----------
    admitted : callable
        Called with a turn and the time when a hand-off has its pages.
    finished : callable
        Called with a turn and the time of its last token.
    failed : callable
        Called with a hand-off that has waited too long for its pages.
    """

    __slots__ = (
        "_admitted",
        "_after_step",
        "_arrived",
        "_clock",
        "_delta",
        "_extra_slots",
        "_finished",
        "_local",
        "_max_running",
        "_model",
        "_overlap",
        "_priority",
        "_requests",
        "_reserve_pages",
        "_residents",
        "_retracted",
        "_seen_unit",
        "_state",
        "_step_extra_s",
        "_turns",
        "active",
        "backlog",
        "holding",
        "keeps_prefixes",
        "last_step_s",
        "log",
        "pool",
        "retractions",
        "spec",
        "start",
        "steps",
        "streams",
        "time",
        "unit",
    )

    def __init__(
        self,
        turns: Turns,
        clock: Clock,
        spec: ClusterSpec,
        number: int,
        admitted: Callable[[int, float], None],
        finished: Callable[[int, float], None],
        failed: Callable[[int, float], None],
    ) -> None:
        node = spec.nodes[number]
        page = spec.page_of(node)
        self.spec = node
        self._priority = BOUNDARY + number
        self._turns, self._clock, self._model = turns, clock, node.model
        self._admitted, self._finished = admitted, finished
        self.keeps_prefixes, self._delta = spec.keeps_prefixes(node), spec.decode_radix
        self._overlap, self._max_running = spec.overlap_schedule, spec.max_running_requests
        self._extra_slots = spec.extra_slots
        # A decode-mode server polls its transfer queues in every step.
        self._step_extra_s = float(node.model.decode.disaggregated_s) if node.role in HANDOFF_ROLES else 0.0
        self._residents = spec.residents
        resident_pages = spec.residents * -(-spec.resident_context_tokens // page)
        room = node.kv_pool_tokens // page - resident_pages
        if room <= 0:
            raise ScenarioError(
                f"residents: {spec.residents} streams of {spec.resident_context_tokens} tokens do not fit"
                f" into a KV pool of {node.kv_pool_tokens} tokens"
            )
        self.pool = make_pool(turns, room * page, page)
        self._reserve_pages = -(-spec.num_reserved_decode_tokens // page)
        self._local = PrefillQueue(turns, spec.chunk_of(node), page, spec.max_prefill_tokens)
        self._requests = HandoffQueue(clock, spec.bootstrap_timeout_s, failed, self._look_again)
        self._arrived: list[int] = []  # turns whose KV has arrived and that wait for a boundary
        self._retracted: deque[tuple[int, int, int]] = deque()  # (turn, KV tokens, steps left)
        self._seen_unit: dict[int, int] = {}  # waiting append: the boundary that saw it first
        self.backlog = Backlog(node.model.prefill, spec.chunk_of(node))
        self._state = DECODING if spec.residents else IDLE
        self._after_step = False
        self.active = 0  # admitted turns: in transfer, in prefill, decoding
        self.holding: set[int] = set()  # admitted turns that do not decode yet
        self.streams = spec.residents  # that decode now, residents included
        self.time = self.start = self.last_step_s = 0.0
        self.unit = self.steps = self.retractions = 0
        self.log = StepLog()

    # What subclasses provide

    @abc.abstractmethod
    def _coming_boundary(self, time: float) -> int:
        """Return the count (`unit`) of the first boundary at or after `time`, later than the last one handled."""

    @abc.abstractmethod
    def _enter(self, turn: int, kv_tokens: int, steps: int) -> None:
        """Put a stream into the batch at the boundary that is being handled."""

    @abc.abstractmethod
    def _leave(self, turn: int) -> tuple[int, int]:
        """Take a stream out of the batch and return its (KV tokens, steps left)."""

    @abc.abstractmethod
    def _done_streams(self) -> list[int]:
        """Return the streams that have all their tokens, in order of turn."""

    @abc.abstractmethod
    def _running(self) -> list[tuple[int, int]]:
        """Return (turn, KV tokens) of the streams in the batch, residents excluded, in order of turn."""

    @abc.abstractmethod
    def _next_step_pages(self) -> int:
        """Return the pages that the coming step takes."""

    @abc.abstractmethod
    def _decode_on(self, attend_unit: int | None) -> None:
        """Go on decoding from `start`; come back at `attend_unit` at the latest."""

    @abc.abstractmethod
    def _attend(self, unit: int) -> None:
        """Make sure that the boundary `unit` is handled."""

    @abc.abstractmethod
    def sync(self, now: float) -> None:
        """Bring the KV pool to what it is at `now`."""

    # What reaches the node

    def request(self, tick: Tick) -> None:
        """Take a hand-off's request for pages."""
        self._requests.add(tick.arg, tick.time)
        if self._state == IDLE:
            self._wake(tick.time)
        elif self._state == DECODING and len(self._requests) == 1 and not self._retracted:
            self._attend(self._coming_boundary(tick.time))

    def _look_again(self, time: float) -> None:
        """Handle the next boundary, because something that waits may go on now."""
        if self._state == IDLE:
            self._wake(time)
        elif self._state == DECODING:
            self._attend(self._coming_boundary(time))

    def arrive(self, turn: int, time: float) -> None:
        """Take a turn whose KV has arrived and whose join is due."""
        self._arrived.append(turn)
        self._look_again(time)

    def append(self, tick: Tick) -> None:
        """Take a turn that is prefilled here."""
        turn: int = tick.arg
        self._turns.t_ready[turn] = tick.time
        local = self._local
        local.waiting.append(turn)
        if self._state == DECODING:
            seen = self._seen_unit[turn] = self._coming_boundary(tick.time)
            if len(local.waiting) == 1:
                self._attend(seen + 1 if self._overlap else seen)
            return
        self._seen_unit[turn] = self.unit
        if self._state == IDLE:
            self._wake(tick.time)

    # One boundary

    def _wake(self, time: float) -> None:
        """Handle a boundary of an idle node."""
        self.time = self.start = time
        self._after_step = False
        self._boundary()

    def _boundary(self) -> None:
        done = self._done_streams()
        for turn in done:
            kv_tokens, _ = self._leave(turn)
            self.streams -= 1
            self._end(turn, kv_tokens)
        if self._retracted and (done or self.streams == self._residents):
            self._resume()
        # The engine does not look at arrivals while a stream is retracted. With nothing left to end it would hang.
        if self._arrived and (not self._retracted or self.streams == self._residents):
            self._join_arrived()
        if self._requests:
            self._admit_handoffs()
        attend = None
        if self._local.waiting or self._local.cut >= 0:
            pieces, attend = self._form()
            if pieces:
                self._forward(pieces)
                return
        while self.streams > self._residents and self._next_step_pages() > self.pool.available:
            self._retract()
            # With the batch empty, a resume may be due at the very next boundary (residents keep it coming).
            attend = self.unit + 1
        if self.streams:
            self._state = DECODING
            self._decode_on(attend)
        else:
            self._state = IDLE
            if self._arrived:
                # They waited for the streams that have just been retracted.
                self._wake(self.start)

    def _end(self, turn: int, kv_tokens: int) -> None:
        self.active -= 1
        self._turns.finish_step[turn] = self.steps
        self.pool.release(turn, kv_tokens, kv_tokens if self.keeps_prefixes else 0)
        self._finished(turn, self.time)

    def _free_slots(self) -> int:
        """Return how many streams may still enter the batch; a prompt that is cut has a place in it."""
        return self._max_running - (self.streams - self._residents) - (self._local.cut >= 0)

    def _join_arrived(self) -> None:
        arrived = self._arrived
        if len(arrived) <= self._free_slots():
            self._arrived = []
            for turn in arrived:
                self._join(turn)
            return
        joined = 0
        while joined < len(arrived) and self._free_slots() > 0:
            self._join(arrived[joined])
            joined += 1
        # The others wait for a stream to end, which is a boundary of its own.
        del arrived[:joined]

    def _join(self, turn: int) -> None:
        others = self.streams
        self._begin(turn)
        if others:
            pause_s = float(self._model.stall.handoff_s)
            self.start += pause_s
            self._turns.stall[turn] += pause_s * others

    def _begin(self, turn: int) -> None:
        """Stream the first token; the rest is decoded."""
        turns = self._turns
        self.holding.discard(turn)
        turns.t_first[turn] = self.time
        turns.start_step[turn] = self.steps
        steps, prompt = turns.output[turn] - 1, turns.prompt[turn]
        if steps:
            self.streams += 1
            self._enter(turn, prompt, steps)
        else:
            self._end(turn, prompt)

    def _admit(self, turn: int, slots: int, *, reuse: bool) -> int:
        """Give a turn one of `slots` and the pages of its prompt; return its cached tokens, or -1 if it must wait."""
        if self._retracted or self.active >= slots:
            return -1
        if not self.pool.fits(turn, self._reserve_pages * (self.active + 1), reuse=reuse):
            return -1
        self.active += 1
        self.holding.add(turn)
        return self.pool.acquire(turn, reuse=reuse)

    def _admit_handoffs(self) -> None:
        while self._requests:
            turn = self._requests.head
            cached = self._admit(turn, self._max_running + self._extra_slots, reuse=self._delta)
            if cached < 0:
                return
            self._requests.pop()
            self._turns.cached[turn] = cached
            self._admitted(turn, self.time)

    def _admit_local(self, turn: int) -> int:
        if self._overlap and self.streams and self._seen_unit[turn] >= self.unit:
            return -1
        cached = self._admit(turn, self._max_running, reuse=True)
        if cached >= 0:
            turns = self._turns
            turns.cached[turn] = turns.prefill_cached[turn] = cached
            turns.t_admitted[turn] = turns.t_prefill_start[turn] = self.start
            del self._seen_unit[turn]
        return cached

    def _form(self) -> tuple[list[Piece], int | None]:
        """Return the pieces of a forward that runs now, or none and the boundary at which the head may run."""
        pieces = self._local.form(self._admit_local)
        if not pieces and self._seen_unit[self._local.waiting[0]] == self.unit:
            return [], self.unit + 1
        return pieces, None

    def _forward(self, pieces: list[Piece]) -> None:
        """Run a prefill forward; streams that decode wait for it.

        The host delivers the tokens of their last step only when it has launched the forward: they come late, the gap
        after them is shorter by as much, and that gap less a step is what the turn is charged with (`stall_s`).
        """
        turns = self._turns
        seconds = forward_s(self._model.prefill, pieces)
        if self.streams:
            stall_s = seconds
            if self._after_step:
                stall_s = float(self._model.stall.append_s(seconds, self.last_step_s))
                self.log.delay(seconds - stall_s)
            tokens = sum(piece.tokens for piece in pieces)
            for piece in pieces:
                turns.stall[piece.turn] += stall_s * self.streams * piece.tokens / tokens
        self._state = FORWARD
        self._after_step = False
        self.unit += 1
        end_s = self.start + seconds
        self.backlog.forward(pieces, turns.prompt, end_s)
        self._clock.at(end_s, self._forward_done, pieces, self._priority)

    def _forward_done(self, tick: Tick) -> None:
        pieces: list[Piece] = tick.arg
        self.time = self.start = tick.time
        for piece in pieces:
            if piece.last:
                self._turns.t_prefill_end[piece.turn] = tick.time
                self._begin(piece.turn)
        self._boundary()

    # Memory

    def _resume(self) -> None:
        """Resume retracted streams, first retracted first, while they fit beside the reserve of the others."""
        pool = self.pool
        while self._retracted and self._free_slots() > 0:
            turn, kv_tokens, steps = self._retracted[0]
            if pool.pages(kv_tokens + 1) + self._reserve_pages * self.active > pool.available:
                return
            self._retracted.popleft()
            pool.take(pool.pages(kv_tokens))
            self.active += 1
            self.streams += 1
            self._turns.pauses[turn][-1] = (self._turns.pauses[turn][-1][0], self.steps)
            self._enter(turn, kv_tokens, steps)

    def _retract(self) -> None:
        """Take the stream with the fewest tokens so far (then the longest prompt, then the latest) out of the batch."""
        turns = self._turns
        turn, kv_tokens = min(
            self._running(), key=lambda item: (item[1] - turns.prompt[item[0]], -turns.prompt[item[0]], -item[0])
        )
        _, steps = self._leave(turn)
        self.streams -= 1
        self.pool.drop(turn, kv_tokens)
        self.active -= 1
        self.retractions += 1
        turns.pauses.setdefault(turn, []).append((self.steps, -1))
        self._retracted.append((turn, kv_tokens, steps))

    def oldest_step(self) -> int:
        """Return the step at which the oldest stream that has not ended began, or the last one if there is none."""
        begun = [turn for turn, _ in self._running()] + [turn for turn, _, _ in self._retracted]
        return min((self._turns.start_step[turn] for turn in begun), default=self.steps)

    def check_integrity(self) -> None:
        """Check the books of the KV pool."""
        pool, turns = self.pool, self._turns
        held = [(turn, turns.prompt[turn]) for turn in self.holding] + self._running()
        pool.check_integrity(sum(pool.pages(kv_tokens) - pool.shared_pages(turn) for turn, kv_tokens in held))
