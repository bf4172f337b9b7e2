"""A node that decodes: D, pD or U. What happens at a step boundary, whoever computes when boundaries are.

At a boundary, in this order: streams that have their last token leave; those who joined at the last
boundary enter the batch; retracted streams resume; when none is left, turns whose KV has arrived join, and their first
token is streamed; hand-offs are pre-allocated; then either a prefill forward runs (prefill first, all chunks of a
prompt in a row; with mixed chunks the streams get a token in each) or a decode step, before which streams are retracted
until its pages fit. Roles differ by what reaches the node and by what they do with their memory
(:mod:`ppdsim.des.node_memory`). Subclasses say when the next boundary is.

Where the scheduler overlaps, the step after a boundary is launched before the boundary's results are handled, so who
joins beside streams that decode is in the step after that one: its second token comes two steps after its first.
Nothing hides the launch of the first step of a node that takes hand-offs and had no streams (`decode.start_s`); without
overlap that is every step. Source: SGLang 0.5.17, disaggregation/decode.py event_loop_overlap_disagg_decode,
get_next_disagg_decode_batch_to_run.

Not modelled: the cost of copying retracted KV, speculative decoding; that with overlap an ended stream is
still in the next step.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence

from ppdsim.des.backlog import Backlog
from ppdsim.des.batching import Piece
from ppdsim.des.clock import BOUNDARY, Clock, Tick
from ppdsim.des.handoff_queue import HandoffQueue
from ppdsim.des.node_memory import AbstractNodeMemory
from ppdsim.des.spec import HANDOFF_ROLES, ClusterSpec
from ppdsim.des.step_log import StepLog
from ppdsim.des.turns import Turns

IDLE, DECODING, FORWARD = 0, 1, 2


class AbstractDecodeNode(AbstractNodeMemory):
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
        "_former",
        "_handoff_s",
        "_idle_s",
        "_model",
        "_priority",
        "_requests",
        "_start_s",
        "_state",
        "_step_extra_s",
        "last_step_s",
        "log",
        "spec",
        "start",
        "time",
    )  # fmt: skip

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
        super().__init__(turns, spec, node, Backlog(node.model.prefill, node.model.chunked_prefill_size))
        self.spec = node
        self._priority = BOUNDARY + number
        self._clock, self._model = clock, node.model
        self._admitted, self._finished = admitted, finished
        self._delta = spec.disaggregation_decode_enable_radix_cache
        self._extra_slots = spec.disaggregation_decode_extra_slots
        self._former = spec.scheduler.step_former(node)
        # Nothing hides the launch of the first step, without overlap of any; a unified server's is in its prefill.
        launch_s = float(node.model.decode.start_s) if node.role in HANDOFF_ROLES else 0.0
        self._start_s, self._step_extra_s = (launch_s, 0.0) if self._overlap else (0.0, launch_s)
        self._handoff_s = float(node.model.stall.handoff_s)
        self._requests = HandoffQueue(clock, spec.disaggregation_bootstrap_timeout_s, failed, self._look_again)
        self._arrived: list[int] = []  # turns whose KV has arrived and that wait for a boundary
        self._state = DECODING if spec.residents else IDLE
        self._after_step = False
        self.time = self.start = self.last_step_s = 0.0
        self._idle_s = 0.0  # up to the last time that it woke
        self.log = StepLog()

    # What subclasses provide

    @abc.abstractmethod
    def _coming_boundary(self, time: float) -> int:
        """Return the count (`unit`) of the first boundary at or after `time`, later than the last one handled."""

    @abc.abstractmethod
    def _done_streams(self) -> Sequence[int]:
        """Return the streams that have all their tokens, in the order of the batch."""

    @abc.abstractmethod
    def _allocate_tokens(self) -> int:
        """Take the pages of one token of every stream, residents excluded, and return the context of all [tokens]."""

    @abc.abstractmethod
    def _emit_tokens(self) -> None:
        """Give every stream the token for which `_allocate_tokens` has taken the pages."""

    @abc.abstractmethod
    def _decode_on(self, attend_unit: int | None) -> None:
        """Go on decoding from `start`; come back at `attend_unit` at the latest."""

    @abc.abstractmethod
    def _attend(self, unit: int) -> None:
        """Make sure that the boundary `unit` is handled."""

    @abc.abstractmethod
    def streams_at(self, now: float) -> int:
        """Return the streams that decode at `now`, residents included."""

    @abc.abstractmethod
    def sync(self, now: float) -> None:
        """Bring the KV pool to what it is at `now`."""

    def busy_s(self, now: float) -> float:
        """Return for how long a stream has decoded or a forward has run, until `now` [s]."""
        idle_now_s = max(now - self.start, 0.0) if self._state == IDLE else 0.0
        return now - self._idle_s - idle_now_s

    # What reaches the node

    def request(self, tick: Tick) -> None:
        """Take a hand-off's request for pages."""
        self._requests.add(tick.arg, tick.time)
        # Others that wait, or that are retracted, go first; they have their own boundary.
        if self._state != DECODING or (len(self._requests.waiting) == 1 and not self.retracted):
            self._look_again(tick.time)

    def _look_again(self, time: float) -> None:
        """Handle the next boundary, because something that waits may go on now."""
        if self._state == DECODING:
            self._attend(self._coming_boundary(time))
        elif self._state == IDLE:
            self._wake(time)

    def arrive(self, turn: int, time: float) -> None:
        """Take a turn whose KV has arrived and whose join is due."""
        self._arrived.append(turn)
        self._look_again(time)

    def abandon(self, turn: int, time: float) -> None:
        """Give the pages of a hand-off back whose KV does not come."""
        self.sync(time)
        self.active -= 1
        self.holding.discard(turn)
        self.pool.withdraw(turn, self.turns.prompt[turn])
        self._look_again(time)

    def append(self, tick: Tick) -> None:
        """Take a turn that is prefilled here."""
        turn: int = tick.arg
        self.turns.t_ready[turn] = tick.time
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
        """Handle a boundary of an idle node, which has been idle since `start`."""
        self._idle_s += time - self.start
        self.time = self.start = time
        self._after_step = False
        self._boundary(self._done_streams())

    def _boundary(self, done: Sequence[int]) -> None:
        """Handle the boundary at `time`, at which the streams `done` have their last token."""
        if done:
            self._leave_all(done)
        if self._joining:
            self._enter_all()
        if self.retracted:
            self._resume()
        # The engine does not look at arrivals while a stream is retracted. With nothing left to end it would hang.
        attend = None
        if self._arrived and (not self.retracted or self.streams == self.residents):
            self._join_arrived()
            if self.retracted or self._joining:
                # Beside who has just joined less room is asked for than alone.
                attend = self.unit + 1
        if self._requests.waiting:
            admit_at = self._admit_handoffs()
            attend = admit_at if attend is None else attend
        local, pool = self._local, self.pool
        if local.waiting or local.cut >= 0:
            pieces, look = self._form()
            if pieces:
                self._forward(pieces)
                return
            attend = look if attend is None else attend
        if self.streams > pool.free and self._make_room():
            # What was retracted may come back at the very next boundary.
            attend = self.unit + 1
        if self.streams:
            self._state = DECODING
            self._decode_on(attend)
        else:
            self._state = IDLE
            self.admission.idle()
            if self._arrived or self._joining:
                # They waited for the streams that have just been retracted.
                self._wake(self.start)

    def _leave_all(self, done: Sequence[int]) -> None:
        for turn in done:
            kv_tokens, _ = self._leave(turn)
            self.streams -= 1
            self._end(turn, kv_tokens)
        self.admission.left(done)

    def _enter_all(self) -> None:
        """Let those into the batch who have joined at the last boundary."""
        joining, self._joining = self._joining, []
        for turn in joining:
            self._start_decoding(turn)

    def _end(self, turn: int, kv_tokens: int) -> None:
        self.active -= 1
        self.turns.finish_step[turn] = self.steps
        self.pool.release(turn, kv_tokens, kv_tokens if self.keeps_prefixes else 0)
        self._finished(turn, self.time)

    def _join_arrived(self) -> None:
        arrived, idle = self._arrived, self.streams == 0
        ahead = self._overlap and not idle
        joined = 0
        while joined < len(arrived) and self._free_slots() > 0:
            self._join(arrived[joined], ahead)
            joined += 1
        # The others wait for a stream to end, which is a boundary of its own.
        del arrived[:joined]
        if idle and self.streams:
            self.start += self._start_s

    def _join(self, turn: int, ahead: bool) -> None:
        """Let a turn join the batch, whose next step is launched already if `ahead`."""
        turns, others = self.turns, self.streams
        if self.keeps_prefixes:
            self.pool.insert(turn, turns.prompt[turn])
        if ahead and turns.output[turn] > 1:
            turns.t_first[turn] = self.time
            self._joining.append(turn)
        else:
            self._begin(turn)
        pause_s = self._handoff_s
        if others and pause_s:
            self.start += pause_s
            turns.stall[turn] += pause_s * others

    def _begin(self, turn: int) -> None:
        """Stream the token that the prefill gave; the rest is decoded."""
        turns = self.turns
        if turns.fill[turn] > turns.prompt[turn]:
            before, _, _ = turns.pauses[turn][-1]
            turns.pauses[turn][-1] = (before, self.steps, self.time)
        else:
            turns.t_first[turn] = self.time
        self._start_decoding(turn)

    def _start_decoding(self, turn: int) -> None:
        """Put a turn that has its first token into the batch, or end it if that was all."""
        turns = self.turns
        self.holding.discard(turn)
        fill, steps = turns.fill[turn], turns.output[turn] - 1
        if fill > turns.prompt[turn]:
            steps -= fill - turns.prompt[turn]
        else:
            turns.start_step[turn] = self.steps
        if steps:
            self.streams += 1
            self._enter(turn, fill, steps)
        else:
            self.admission.forget(turn)
            self._end(turn, fill)

    def _admit_handoffs(self) -> int | None:
        """Admit hand-offs in order; return a boundary at which the head may fit although no stream has ended."""
        delta, waiting, admission = self._delta, self._requests.waiting, self.admission
        slots = self._max_running + self._extra_slots
        while waiting:
            turn = waiting[0][0]
            if not admission.admits(turn, slots, reuse=delta):
                return None
            steps = admission.steps_until_it_fits(turn, reuse=delta)
            if steps:
                return self.unit + steps if steps > 0 else None
            self._requests.pop()
            self.turns.cached[turn] = self._take_in(turn, reuse=delta)
            self.pool.make_free(0)
            self._admitted(turn, self.time)
        return None

    def _admit_local(self, turn: int) -> int:
        if self._overlap and self.streams and self._seen_unit[turn] >= self.unit:
            return -1
        if not self.admission.admits(turn, self._max_running, reuse=True):
            return -1
        cached = self._take_in(turn, reuse=True)
        turns = self.turns
        if turns.fill[turn] == turns.prompt[turn]:
            turns.cached[turn] = turns.prefill_cached[turn] = cached
            turns.t_admitted[turn] = turns.t_prefill_start[turn] = self.start
        del self._seen_unit[turn]
        return cached

    def _form(self) -> tuple[list[Piece], int | None]:
        """Return the pieces of a forward that runs now, or none and the boundary at which the head may run."""
        local, admission, streams = self._local, self.admission, self.streams
        decode_rows = self._former.decode_rows(streams)
        admission.begin_forward(decode_rows, local.cut_ends(decode_rows))
        pieces = self._former.form(local, self._admit_local, streams)
        if pieces:
            admission.formed(pieces)
            return pieces, None
        if self._seen_unit[local.waiting[0]] == self.unit:
            return [], self.unit + 1
        again = admission.again
        return [], None if again == math.inf else int(again)

    def _forward(self, pieces: list[Piece]) -> None:
        """Run a step with prompts; streams that have no token in it wait for its end."""
        turns, former = self.turns, self._former
        context_tokens = 0
        if former.decode_rows(self.streams):
            self._make_room()
            context_tokens = self._allocate_tokens() if self.streams else 0
        streams = self.streams
        # Without an overlapping scheduler a launch waits for the results of what ran, so nothing hides it.
        running_s = self.last_step_s if self._overlap and self._after_step else None
        cost = former.cost(pieces, streams, context_tokens, running_s, self._step_extra_s)
        if streams:
            if running_s is not None:
                self.log.delay(cost.late_s)
            tokens = sum(piece.tokens for piece in pieces)
            lost_s = cost.lost_s * streams
            for piece in pieces:
                turns.stall[piece.turn] += lost_s * piece.tokens / tokens
        self._state = FORWARD
        self._after_step = False
        self.unit += 1
        end_s = self.start + cost.seconds
        self.backlog.forward(pieces, turns.fill, end_s)
        self._clock.at(end_s, self._forward_done, (pieces, streams, former.decode_rows(streams)), self._priority)

    def _forward_done(self, tick: Tick) -> None:
        pieces, streams, decode_rows = tick.arg
        if decode_rows:
            self.log.add(self.start, 1, tick.time - self.start, 0.0)
            self._emit_tokens()
            self.steps += 1
            self.mixed_forwards += 1
        self.time = self.start = tick.time
        before, beside = self.active, decode_rows and self.streams - self.residents
        for piece in pieces:
            self.pool.insert(piece.turn, piece.before + piece.tokens)
            if piece.last:
                if math.isnan(self.turns.t_prefill_end[piece.turn]):
                    self.turns.t_prefill_end[piece.turn] = tick.time
                self._begin(piece.turn)
        if beside:
            # What was prefilled comes before them (SGLang 0.5.17, managers/schedule_batch.py mix_with_running).
            order = [turn for turn, _ in self.running()]
            self._arrange(order[beside:] + order[:beside])
        self.admission.after_forward(streams, before - self.active, mixed=decode_rows > 0, cut=self._local.cut >= 0)
        self._boundary(self._done_streams())
