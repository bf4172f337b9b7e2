"""A prefill node: FCFS forwards, chunk by chunk; each turn's KV leaves on its link to D.

P keeps prompts, never answers. A turn's KV stays locked on P until P has seen that it is on D; when memory does not
admit the head of the queue, it waits for that. The cached prefix is looked up twice: when D has pre-allocated, for the
handshake, and again when the forward starts, for what is computed, because it may be evicted in between.

The loop of the scheduler: take what has come, form a batch, launch it, handle the result of the batch before, look
which transfers are done and answer their requests. While the host launches or waits for a result it sees nothing of
what comes and answers nobody. Where the scheduler overlaps, a batch that is launched beside an unresolved one delays
that one's result to its own end: a chunk's KV is sent from page numbers that are copied from the GPU behind all that
was launched there. So::

    alone                       look again when it is launched (floor_s), resolve at its end
    one launched behind it      both run in a row, resolve the first when the second has ended

Without overlap every batch is resolved at its end. The host handles a result request by request, each for
`HandoffCurve.request_result_s`, and launches the next batch only then; a launch while KV is sent takes `beside_send_s`
more. So batches in a row have a gap between them. Source: SGLang 0.5.17, disaggregation/prefill.py
event_loop_overlap_disagg_prefill, process_batch_result_disagg_prefill, send_kv_chunk, managers/scheduler.py
_apply_war_barrier. Not modelled: that the early send of a prefix waits for the same copy.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from ppdsim.des.backlog import Backlog
from ppdsim.des.batching import Piece, PrefillQueue
from ppdsim.des.clock import BOUNDARY, Clock, Handler, Tick
from ppdsim.des.kv_blocks import make_pool
from ppdsim.des.link import Links
from ppdsim.des.nic import SharedNic
from ppdsim.des.prefill_node import AbstractPrefillNode
from ppdsim.des.spec import ClusterSpec
from ppdsim.des.step_former import forward_s
from ppdsim.des.turns import TIMED_OUT, Turns
from ppdsim.engines.sglang.scheduler.pages import evict_for_forward


class PrefillLoop(AbstractPrefillNode):
    """One P machine; see the base class."""

    __slots__ = (
        "_answered",
        "_arrived",
        "_busy_s",
        "_clock",
        "_curve",
        "_due",
        "_free_s",
        "_handled_s",
        "_holding",
        "_landed",
        "_launch_s",
        "_launched_s",
        "_overlap",
        "_priority",
        "_queue",
        "_turns",
        "_unresolved",
    )

    def __init__(
        self,
        turns: Turns,
        clock: Clock,
        spec: ClusterSpec,
        number: int,
        arrived: Callable[[Tick], None],
        answered: Callable[[int, float], None],
        nic: SharedNic | None = None,
    ) -> None:
        self.spec = node = spec.nodes[number]
        self._priority = BOUNDARY + number
        self._turns, self._clock, self._arrived, self._answered = turns, clock, arrived, answered
        self._curve = node.model.prefill
        chunk, page = node.model.chunked_prefill_size, node.model.page_size_tokens
        self.pool = make_pool(turns, node.kv_pool_tokens, page)
        self._queue = PrefillQueue(turns, chunk, page, spec.max_prefill_tokens)
        curves = [node.model.handoff_to(other.model, spec.handoff_arm, spec.transport) for other in spec.nodes]
        self.links = Links(turns, curves, spec.handoff_arm, number, self._delivered, nic)
        self._overlap, self._launch_s = node.model.engine.overlap_schedule, float(self._curve.floor_s)
        # Batches whose result the host has not handled, and when their forward ends [s]: at most two, the second one
        # launched behind the first.
        self._unresolved: deque[tuple[list[Piece], float]] = deque()
        self._launched_s = -math.inf  # until when the host launches a batch beside which there is no other
        self._handled_s = 0.0  # until when the host handles a result
        self._free_s = 0.0  # end of the last forward
        self._busy_s = 0.0  # of all forwards
        self._due: Tick | None = None  # what the host does next; a tick that was planned before is stale
        self._landed: list[int] = []  # turns whose KV is on D, which the host has not seen
        self.start = 0.0  # of the last forward
        self.backlog = Backlog(self._curve, chunk)
        self._holding: set[int] = set()

    def ready(self, tick: Tick) -> None:
        """Queue a turn whose handshake is done."""
        turn: int = tick.arg
        if self._turns.status[turn] == TIMED_OUT:
            return
        self._turns.t_ready[turn] = tick.time
        self._queue.waiting.append(turn)
        self._look(tick.time)

    def landed(self, turn: int, time: float) -> None:
        """Take note that a turn's KV is on D; the host sees it when it looks the next time."""
        self._landed.append(turn)
        self._look(time)

    def drop(self, turn: int, time: float) -> bool:
        """Take a turn out that D has given up, and return true; false if a forward of it has begun."""
        turns, waiting = self._turns, self._queue.waiting
        if not math.isnan(turns.t_prefill_start[turn]):
            return False
        self.backlog.forget(turn)
        if not math.isnan(turns.t_ready[turn]):
            waiting.remove(turn)
            # It may have been the head that did not fit.
            self._look(time)
        return True

    def busy_s(self, now: float) -> float:
        """Return for how long forwards have run, until `now` [s]."""
        return self._busy_s - max(self._free_s - now, 0.0)

    def check_integrity(self) -> None:
        """Check the books of the KV pool."""
        pool, prompt = self.pool, self._turns.prompt
        pool.check_integrity(sum(pool.pages(prompt[turn]) - pool.shared_pages(turn) for turn in self._holding))

    def _admit(self, turn: int) -> int:
        if not self.pool.fits(turn, 0, reuse=True):
            self.pool.touch(turn)
            return -1
        cached = self.pool.acquire(turn, reuse=True)
        self._holding.add(turn)
        self._turns.prefill_cached[turn] = cached
        return cached

    # The loop

    def _look(self, time: float) -> None:
        """Let the host see what has come: at once if it idles, and when it has launched what it launches now."""
        due = self._due
        if not self._unresolved:
            if time < self._handled_s:
                if due is None:
                    self._plan(self._handled_s, self._look_again)
            else:
                self._pass(time)
            return
        if time <= self._launched_s and len(self._unresolved) == 1 and due is not None and due.time != self._launched_s:
            self._plan(self._launched_s, self._look_again)

    def _plan(self, time: float, handler: Handler) -> None:
        self._due = self._clock.at(time, handler, None, self._priority)

    def _look_again(self, tick: Tick) -> None:
        """See what has come while the host launched a batch or handled a result."""
        if tick is self._due:
            self._due = None
            self._pass(tick.time)

    def _resolve(self, tick: Tick) -> None:
        """Handle the result that the host waits for: send the KV of its batch."""
        if tick is not self._due:
            return
        self._due = None
        pieces, end_s = self._unresolved.popleft()
        time, links = tick.time, self.links
        for piece in pieces:
            if piece.last:
                self._turns.t_prefill_end[piece.turn] = end_s
            else:
                self.pool.insert(piece.turn, piece.before + piece.tokens)
            if time > tick.time:
                self._clock.at(time, self._send, piece, self._priority)
            else:
                links.end(piece, time)
            time += links.request_result_s
        self._handled_s = time
        if time == tick.time:
            self._pass(time)
        elif self._unresolved or self._landed or self._queue.waiting or self._queue.cut >= 0:
            self._plan(time, self._look_again)

    def _send(self, tick: Tick) -> None:
        self.links.end(tick.arg, tick.time)

    def _pass(self, time: float) -> None:
        """Answer whose KV has landed, launch what waits, and plan what the host does next."""
        if self._landed:
            self._answer(time)
        queue, unresolved = self._queue, self._unresolved
        pieces = queue.form(self._admit) if queue.waiting or queue.cut >= 0 else None
        if pieces:
            evict_for_forward(self.pool, pieces)
            self._launch(pieces, time)
        if not unresolved:
            return
        if pieces and self._overlap and len(unresolved) == 1:
            self._launched_s = time + self._launch_s
            if queue.waiting or queue.cut >= 0:
                self._plan(self._launched_s, self._look_again)
                return
        free_s = self._free_s
        self._plan(free_s if free_s > time else time, self._resolve)

    def _answer(self, time: float) -> None:
        """Unlock the KV of the turns that have it on D, and answer them."""
        landed, self._landed = self._landed, []
        for turn in landed:
            prompt = self._turns.prompt[turn]
            self._holding.remove(turn)
            self.pool.release(turn, prompt, prompt)
            self._answered(turn, time)

    def _launch(self, pieces: list[Piece], time: float) -> None:
        free_s, links = self._free_s, self.links
        if free_s > time:
            begin_s = free_s
        elif links.beside_send_s and links.sends(time):
            begin_s = time + links.beside_send_s
        else:
            begin_s = time
        self.start = begin_s
        for piece in pieces:
            if piece.first:
                self._turns.t_prefill_start[piece.turn] = begin_s
                if piece.before and links.sends_early(piece):
                    self._clock.at(begin_s, self._send_early, piece, self._priority)
        self._free_s = end_s = begin_s + forward_s(self._curve, pieces)
        self._busy_s += end_s - begin_s
        self._unresolved.append((pieces, end_s))
        self.backlog.forward(pieces, self._turns.prompt, end_s)

    def _send_early(self, tick: Tick) -> None:
        self.links.start(tick.arg, tick.time)

    def _delivered(self, turn: int, time: float) -> None:
        self._turns.kv_done[turn] = time
        self._clock.at(time + self.links.join_s, self._arrived, turn, turn)
