"""What a decode node does with its KV pool: whom it admits, whom it retracts, and how a retracted stream comes back.

A decode server (D, and pD, which no release has) leaves `num_reserved_decode_tokens` for every turn already there, and
admits a hand-off only if it and the longest running answer could each end with all other streams retracted::

    room after the prompt  >=  max(reserve * active, longest - running KV)
                               + max(reserve, min(max_new, 4096) - running KV)

with longest = the largest prompt + min(max_new, 4096) among the streams, and as `max_new` the length of the answer. Its
retracted streams keep a copy on the host and a queue of their own that comes before all others; at every step the first
of them resumes where its KV and its reserve fit beside the reserve of the others. Source: SGLang 0.5.17,
disaggregation/decode.py pop_preallocated, resume_retracted_reqs, process_decode_queue.

A unified server (U) admits by the new-token ratio (:mod:`ppdsim.des.new_token_ratio`). A retracted stream goes to the
end of the waiting queue; what a prefill has put into the radix tree stays there, evictable, and the KV of its further
tokens is dropped; prompt and answer are prefilled anew as far as they are not cached then, and that forward gives the
next token. Source: SGLang 0.5.17, managers/schedule_batch.py retract_decode, release_req, reset_for_retract,
managers/scheduler.py _add_request_to_queue, mem_cache/radix_cache.py cache_finished_req.

Both retract the fewest generated tokens first, then the longest prompt. The engine aborts a stream that does not fit
alone; here it is retracted like any other. The pages of a whole prompt are taken with its first chunk, where the engine
takes them chunk by chunk.
"""

from __future__ import annotations

import abc
import math
from collections import deque

from ppdsim.des.backlog import Backlog
from ppdsim.des.batching import PrefillQueue
from ppdsim.des.kv_blocks import make_pool
from ppdsim.des.new_token_ratio import CLIP_MAX_NEW_TOKENS, RETRACT_DECODE_STEPS, NewTokenAdmission
from ppdsim.des.spec import ClusterSpec, NodeSpec
from ppdsim.des.turns import Turns
from ppdsim.errors import ScenarioError
from ppdsim.types import NodeRole


class AbstractNodeMemory(abc.ABC):
    """The KV pool of one D, pD or U machine and the turns in it.

    Boundaries are counted (`unit`): one at the end of every decode step and of every forward. `steps` are those in
    which streams got a token, `mixed_forwards` among them.
    """

    __slots__ = (
        "_door", "_joining", "_local", "_max_running", "_overlap", "_reserve_pages", "_residents", "_retracted",
        "_seen_unit", "_turns", "active", "backlog", "holding", "mixed_forwards", "pool", "retractions", "steps",
        "streams", "unit",
    )  # fmt: skip

    def __init__(self, turns: Turns, spec: ClusterSpec, node: NodeSpec, backlog: Backlog) -> None:
        self._turns, self.backlog = turns, backlog
        page = spec.page_of(node)
        self._overlap, self._max_running = spec.overlap_schedule, spec.max_running_requests
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
        self._door = (
            NewTokenAdmission(
                turns,
                self.pool,
                self._running,
                schedule_conservativeness=spec.schedule_conservativeness,
                max_running_requests=spec.max_running_requests,
                overlap_schedule=spec.overlap_schedule,
            )
            if node.role is NodeRole.U
            else None
        )
        self._retracted: deque[tuple[int, int, int]] = deque()  # (turn, KV tokens, steps left)
        self._seen_unit: dict[int, int] = {}  # waiting append: the boundary that saw it first
        self._joining: list[int] = []  # turns with their first token that enter the batch at the next boundary
        self.active = 0  # admitted turns: in transfer, in prefill, decoding
        self.holding: set[int] = set()  # admitted turns that do not decode yet
        self.streams = spec.residents  # that decode now, residents included
        self.unit = self.steps = self.mixed_forwards = self.retractions = 0

    @abc.abstractmethod
    def _enter(self, turn: int, kv_tokens: int, steps: int) -> None:
        """Put a stream into the batch at the boundary that is being handled."""

    @abc.abstractmethod
    def _leave(self, turn: int) -> tuple[int, int]:
        """Take a stream out of the batch and return its (KV tokens, steps left)."""

    @abc.abstractmethod
    def _running(self) -> list[tuple[int, int]]:
        """Return (turn, KV tokens) of the streams in the batch, residents excluded, in order of turn."""

    @abc.abstractmethod
    def _paged(self) -> list[tuple[int, int]]:
        """Return (turn, KV tokens that its pages are for): those of steps that have not ended are taken already."""

    @abc.abstractmethod
    def _next_step_pages(self) -> int:
        """Return the pages that the coming step takes."""

    def _free_slots(self) -> int:
        """Return how many streams may still enter the batch; a prompt that is cut has a place in it."""
        running = self.streams - self._residents + len(self._joining)
        return self._max_running - running - (self._local.cut >= 0)

    def _has_room(self, turn: int, slots: int, *, reuse: bool) -> bool:
        """Return whether one of `slots` is free and the prompt fits beside what is kept back."""
        if self._door is not None:
            return self._door.admits(turn, self.active, self.streams, self.steps - self.mixed_forwards)
        if self._retracted or self.active >= slots:
            return False
        return self.pool.fits(turn, self._reserve_pages * (self.active + 1), reuse=reuse)

    def _take_in(self, turn: int, *, reuse: bool) -> int:
        """Give a turn a slot and the pages of its prompt, and return its cached tokens."""
        self.active += 1
        self.holding.add(turn)
        cached = self.pool.acquire(turn, reuse=reuse)
        if self._door is not None:
            self._door.admitted(turn)
        return cached

    def _steps_until_it_could_end(self, turn: int, *, reuse: bool) -> int:
        """Return after how many steps at the earliest a hand-off and the longest answer could each end alone.

        0 is now, and -1 not before a stream has ended. A step makes KV retractable and takes pages: the streams' last
        pages have `slack` tokens of room, so n steps take at least ``growing n - slack`` tokens.
        """
        turns, pool = self._turns, self.pool
        room = pool.room_tokens(turn) if reuse else pool.available * pool.page - turns.prompt[turn]
        own = self._reserve_pages * pool.page
        reserve = own * self.active
        running = self._running()
        retractable = sum(kv_tokens + 1 for _, kv_tokens in running)
        longest = max((turns.prompt[i] + min(turns.output[i], CLIP_MAX_NEW_TOKENS) for i, _ in running), default=0)
        longest -= retractable
        wanted = min(turns.output[turn], CLIP_MAX_NEW_TOKENS) - retractable
        missing = max(reserve, longest) + max(own, wanted) - room
        if missing <= 0:
            return 0
        growing, falling = len(running), (longest > reserve) + (wanted > own)
        slack = sum(-kv_tokens % pool.page for _, kv_tokens in running)
        if not growing or not falling or (falling == 1 and missing > slack):
            return -1
        return max(-(-missing // (falling * growing)), -(-(missing - slack) // growing))

    def _make_room(self) -> None:
        """Retract streams until the coming step fits."""
        if self.streams == self._residents or self._next_step_pages() <= self.pool.available:
            return
        while self.streams > self._residents and self._next_step_pages() > self.pool.available:
            self._retract()
        if self._door is not None:
            self._door.estimate(self.steps - self.mixed_forwards)

    def _retract(self) -> None:
        """Take the stream with the fewest tokens so far (then the longest prompt, then the latest) out of the batch."""
        turns = self._turns
        turn, kv_tokens = min(
            self._running(), key=lambda item: (item[1] - turns.prompt[item[0]], -turns.prompt[item[0]], -item[0])
        )
        _, steps = self._leave(turn)
        self.streams -= 1
        self.active -= 1
        self.retractions += 1
        turns.pauses.setdefault(turn, []).append((self.steps, -1, math.nan))
        if self._door is None:
            self.pool.drop(turn, kv_tokens)
            self._retracted.append((turn, kv_tokens, steps))
        else:
            self._door.retracted(turn, self.unit)
            self._requeue(turn, kv_tokens, steps)

    def _requeue(self, turn: int, kv_tokens: int, steps: int) -> None:
        """Put a stream at the end of the waiting queue, to be prefilled anew."""
        turns, pool = self._turns, self.pool
        pool.release(turn, kv_tokens, turns.fill[turn])
        # The engine makes room for some steps of those that stay, at the expense of what is cached.
        pool.make_free(pool.pages((self.streams - self._residents) * RETRACT_DECODE_STEPS))
        turns.fill[turn] = turns.prompt[turn] + turns.output[turn] - steps
        cached = pool.cached_tokens(turn)
        self.backlog.promise(turn, turns.fill[turn] - cached, cached)
        self._seen_unit[turn] = self.unit
        self._local.waiting.append(turn)

    def _resume(self) -> None:
        """Resume retracted streams, first retracted first, while they fit beside the reserve of all."""
        pool = self.pool
        while self._retracted and self._free_slots() > 0:
            turn, kv_tokens, steps = self._retracted[0]
            # One that would be alone has to have room for its next token, or the engine would abort it.
            alone = self.streams == self._residents
            need = pool.pages(kv_tokens + alone) + self._reserve_pages * (self.active + 1)
            if need > pool.available:
                return
            self._retracted.popleft()
            pool.take(pool.pages(kv_tokens))
            self.active += 1
            self.streams += 1
            before, _, _ = self._turns.pauses[turn][-1]
            self._turns.pauses[turn][-1] = (before, self.steps, math.nan)
            self._enter(turn, kv_tokens, steps)

    def oldest_step(self) -> int:
        """Return the step at which the oldest stream that has not ended began, or the last one if there is none."""
        turns = self._turns
        begun = [turn for turn, _ in self._running()] + [turn for turn, _, _ in self._retracted]
        # Streams that wait for their second prefill, or are in it.
        begun += [turn for turn in (*self._local.waiting, *self.holding) if turns.fill[turn] > turns.prompt[turn]]
        return min((turns.start_step[turn] for turn in begun), default=self.steps)

    def check_integrity(self) -> None:
        """Check the books of the KV pool."""
        pool, turns = self.pool, self._turns
        held = [(turn, turns.fill[turn]) for turn in self.holding] + self._paged()
        pool.check_integrity(sum(pool.pages(kv_tokens) - pool.shared_pages(turn) for turn, kv_tokens in held))
