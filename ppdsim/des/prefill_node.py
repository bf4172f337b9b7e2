"""A prefill node: FCFS forwards, chunk by chunk; each turn's KV leaves on its link to D.

P keeps prompts, never answers. A turn's KV stays locked on P until it has arrived on D; when memory does not admit the
head of the queue, it waits for that. The cached prefix is looked up twice: when D has pre-allocated, for the handshake,
and again when the forward starts, for what is computed, because it may be evicted in between. Where the scheduler
overlaps, the launch of a prompt's next chunk hides behind the chunk that runs; what arrives meanwhile is only seen when
that has ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ppdsim.des.backlog import Backlog
from ppdsim.des.batching import Piece, PrefillQueue, forward_s
from ppdsim.des.clock import BOUNDARY, Clock, Tick
from ppdsim.des.kv_blocks import make_pool
from ppdsim.des.link import Links
from ppdsim.des.nic import SharedNic
from ppdsim.des.spec import ClusterSpec
from ppdsim.des.turns import TIMED_OUT, Turns


class PrefillNode:
    """One P machine: node `number` of the fleet.

    Parameters
    ----------
    arrived : callable
        Called when a turn's KV is on D and the turn may join its batch.
    nic : SharedNic or None
        What the node sends through, if others do too.
    """

    __slots__ = (
        "_arrived",
        "_busy",
        "_clock",
        "_curve",
        "_forward_s",
        "_holding",
        "_overlap",
        "_priority",
        "_queue",
        "_turns",
        "backlog",
        "links",
        "pool",
        "spec",
        "start",
    )

    def __init__(
        self,
        turns: Turns,
        clock: Clock,
        spec: ClusterSpec,
        number: int,
        arrived: Callable[[Tick], None],
        nic: SharedNic | None = None,
    ) -> None:
        self.spec = node = spec.nodes[number]
        self._priority = BOUNDARY + number
        self._turns, self._clock, self._arrived = turns, clock, arrived
        self._curve = node.model.prefill
        self.pool = make_pool(turns, node.kv_pool_tokens, spec.page_of(node))
        self._queue = PrefillQueue(turns, spec.chunk_of(node), spec.page_of(node), spec.max_prefill_tokens)
        curve = node.model.handoff(spec.handoff_arm, spec.transport)
        self.links = Links(turns, curve, spec.handoff_arm, len(spec.nodes), number, self._delivered, nic)
        self._overlap = spec.overlap_schedule
        self._busy = False
        self.start = self._forward_s = 0.0  # of the last forward
        self.backlog = Backlog(self._curve, spec.chunk_of(node))
        self._holding: set[int] = set()

    def ready(self, tick: Tick) -> None:
        """Queue a turn whose handshake is done."""
        turn: int = tick.arg
        if self._turns.status[turn] == TIMED_OUT:
            return
        self._turns.t_ready[turn] = tick.time
        self._queue.waiting.append(turn)
        if not self._busy:
            self._start(tick.time)

    def drop(self, turn: int, time: float) -> bool:
        """Take a turn out that D has given up, and return true; false if a forward of it has begun."""
        turns, waiting = self._turns, self._queue.waiting
        if not math.isnan(turns.t_prefill_start[turn]):
            return False
        self.backlog.forget(turn)
        if not math.isnan(turns.t_ready[turn]):
            waiting.remove(turn)
            if not self._busy and waiting:
                # It may have been the head that did not fit.
                self._start(time)
        return True

    def transferred(self, turn: int, time: float) -> None:
        """Unlock a turn's KV: it has arrived on D."""
        prompt = self._turns.prompt[turn]
        self._holding.discard(turn)
        self.pool.release(turn, prompt, prompt)
        if not self._busy and self._queue.waiting:
            self._start(time)

    def check_integrity(self) -> None:
        """Check the books of the KV pool."""
        pool, prompt = self.pool, self._turns.prompt
        pool.check_integrity(sum(pool.pages(prompt[turn]) - pool.shared_pages(turn) for turn in self._holding))

    def _admit(self, turn: int) -> int:
        if not self.pool.fits(turn, 0, reuse=True):
            return -1
        cached = self.pool.acquire(turn, reuse=True)
        self._holding.add(turn)
        self._turns.prefill_cached[turn] = cached
        return cached

    def _start(self, time: float) -> None:
        pieces = self._queue.form(self._admit)
        if not pieces:
            self._busy = False
            return
        hidden_s = 0.0 if pieces[0].first or not self._overlap else self._forward_s
        self._busy, self.start = True, time
        for piece in pieces:
            if piece.first:
                self._turns.t_prefill_start[piece.turn] = time
                self.links.start(piece, time)
        self._forward_s = forward_s(self._curve, pieces, hidden_s)
        end_s = time + self._forward_s
        self.backlog.forward(pieces, self._turns.prompt, end_s)
        self._clock.at(end_s, self._done, pieces, self._priority)

    def _done(self, tick: Tick) -> None:
        pieces: list[Piece] = tick.arg
        turns, time = self._turns, tick.time
        for piece in pieces:
            if piece.last:
                turns.t_prefill_end[piece.turn] = time
            self.links.end(piece, time)
        self._start(time)

    def _delivered(self, turn: int, time: float) -> None:
        self._turns.kv_done[turn] = time
        self._clock.at(time + self.links.join_s(), self._arrived, turn, turn)
