"""What a decode node does with its KV pool: the books of who is admitted, retracted and taken back.

Who that is the engine's rules say (:mod:`ppdsim.des.admission`). What a prefill or a join has put into the cache stays
there, evictable, when a stream is retracted; the KV of its further tokens is dropped. It either keeps a copy of its KV
on the host and goes on with it, before all others; or prompt and answer are prefilled again as far as they are not
cached then, behind who waits already. That forward gives the next token.

Not modelled: the pages of a whole prompt are taken with its first chunk, where the engine takes them chunk by chunk.
"""

from __future__ import annotations

import abc
import math
from collections import deque
from collections.abc import Iterable

from ppdsim.des.admission import AbstractAdmission
from ppdsim.des.backlog import Backlog
from ppdsim.des.batching import PrefillQueue
from ppdsim.des.kv_blocks import make_pool
from ppdsim.des.spec import ClusterSpec, NodeSpec
from ppdsim.des.turns import Turns
from ppdsim.errors import ScenarioError


class AbstractNodeMemory(abc.ABC):
    """The KV pool of one D, pD or U machine and the turns in it.

    Boundaries are counted (`unit`): one at the end of every decode step and of every forward. `steps` are those in
    which streams got a token, `mixed_forwards` among them.
    """

    __slots__ = (
        "_joining", "_local", "_max_running", "_overlap", "_seen_unit", "active", "admission", "backlog", "engine",
        "holding", "keeps_prefixes", "mixed_forwards", "pool", "residents", "retracted", "retractions", "steps",
        "streams", "turns", "unit",
    )  # fmt: skip

    def __init__(self, turns: Turns, spec: ClusterSpec, node: NodeSpec, backlog: Backlog) -> None:
        self.turns, self.backlog = turns, backlog
        page, self.engine = node.model.page_size_tokens, node.model.engine
        self._overlap, self._max_running = self.engine.overlap_schedule, spec.max_running_requests
        self.residents, self.keeps_prefixes = spec.residents, spec.keeps_prefixes(node)
        resident_pages = spec.residents * -(-spec.resident_context_tokens // page)
        room = node.kv_pool_tokens // page - resident_pages
        if room <= 0:
            raise ScenarioError(
                f"residents: {spec.residents} streams of {spec.resident_context_tokens} tokens do not fit"
                f" into a KV pool of {node.kv_pool_tokens} tokens"
            )
        self.pool = make_pool(turns, room * page, page)
        self._local = PrefillQueue(turns, node.model.chunked_prefill_size, page, spec.max_prefill_tokens)
        self.retracted: deque[tuple[int, int, int]] = deque()  # (turn, KV tokens, steps left)
        self._seen_unit: dict[int, int] = {}  # waiting append: the boundary that saw it first
        self._joining: list[int] = []  # turns with their first token that enter the batch at the next boundary
        self.active = 0  # admitted turns: in transfer, in prefill, decoding
        self.holding: set[int] = set()  # admitted turns that do not decode yet
        self.streams = spec.residents  # that decode now, residents included
        self.unit = self.steps = self.mixed_forwards = self.retractions = 0
        self.admission: AbstractAdmission = spec.scheduler.admission(self, spec, node.role)

    @property
    def decode_steps(self) -> int:
        """Return the steps that had no prompts in them."""
        return self.steps - self.mixed_forwards

    @abc.abstractmethod
    def _enter(self, turn: int, kv_tokens: int, steps: int) -> None:
        """Put a stream into the batch at the boundary that is being handled."""

    @abc.abstractmethod
    def _leave(self, turn: int) -> tuple[int, int]:
        """Take a stream out of the batch and return its (KV tokens, steps left)."""

    @abc.abstractmethod
    def _arrange(self, turns: Iterable[int]) -> None:
        """Put the batch in this order."""

    @abc.abstractmethod
    def running(self) -> list[tuple[int, int]]:
        """Return (turn, KV tokens) of the streams in the batch, residents excluded, in the order of the batch."""

    @abc.abstractmethod
    def _paged(self) -> list[tuple[int, int]]:
        """Return (turn, KV tokens that its pages are for): those of steps that have not ended are taken already."""

    @abc.abstractmethod
    def _next_step_pages(self) -> int:
        """Return the pages that the coming step takes."""

    def _free_slots(self) -> int:
        """Return how many streams may still enter the batch; a prompt that is cut has a place in it."""
        running = self.streams - self.residents + len(self._joining)
        return self._max_running - running - (self._local.cut >= 0)

    def _take_in(self, turn: int, *, reuse: bool) -> int:
        """Give a turn a slot and the pages of its prompt, and return its cached tokens."""
        self.active += 1
        self.holding.add(turn)
        cached = self.pool.acquire(turn, reuse=reuse)
        self.admission.admitted(turn)
        return cached

    def _make_room(self) -> bool:
        """Retract streams until the coming step fits, and return whether any."""
        if self.streams == self.residents or self._next_step_pages() <= self.pool.available:
            return False
        # Before it retracts, the engine evicts all that it can.
        self.pool.make_free(self._next_step_pages())
        order = self.admission.keep_order()
        while order and self._next_step_pages() > self.pool.available:
            self._retract(*order.pop())
        self._arrange([turn for turn, _ in order])
        self.admission.retractions_done()
        return True

    def _retract(self, turn: int, kv_tokens: int) -> None:
        """Take a stream out of the batch before its end."""
        turns, admission = self.turns, self.admission
        _, steps = self._leave(turn)
        self.streams -= 1
        self.active -= 1
        self.retractions += 1
        turns.pauses.setdefault(turn, []).append((self.steps, -1, math.nan))
        admission.retracted(turn)
        self.pool.withdraw(turn, kv_tokens)
        admission.withdrawn()
        if admission.resumes_from_copy:
            self.retracted.append((turn, kv_tokens, steps))
        else:
            self._requeue(turn, steps)

    def _requeue(self, turn: int, steps: int) -> None:
        """Put a stream at the end of the waiting queue, to be prefilled again."""
        turns, pool = self.turns, self.pool
        turns.fill[turn] = turns.prompt[turn] + turns.output[turn] - steps
        cached = pool.cached_tokens(turn)
        self.backlog.promise(turn, turns.fill[turn] - cached, cached)
        self._seen_unit[turn] = self.unit
        self._local.waiting.append(turn)

    def _resume(self) -> None:
        """Let retracted streams go on from their copies, first retracted first, while the engine takes them back."""
        pool = self.pool
        while self.retracted and self._free_slots() > 0:
            turn, kv_tokens, steps = self.retracted[0]
            if not self.admission.takes_back(kv_tokens):
                return
            self.retracted.popleft()
            pool.restore(turn, kv_tokens, keep=self.keeps_prefixes)
            self.active += 1
            self.streams += 1
            before, _, _ = self.turns.pauses[turn][-1]
            self.turns.pauses[turn][-1] = (before, self.steps, math.nan)
            self._enter(turn, kv_tokens, steps)

    def oldest_step(self) -> int:
        """Return the step at which the oldest stream that has not ended began, or the last one if there is none."""
        turns = self.turns
        begun = [turn for turn, _ in self.running()] + [turn for turn, _, _ in self.retracted]
        # Streams that wait for their second prefill, or are in it.
        begun += [turn for turn in (*self._local.waiting, *self.holding) if turns.fill[turn] > turns.prompt[turn]]
        return min((turns.start_step[turn] for turn in begun), default=self.steps)

    def check_integrity(self) -> None:
        """Check the books of the KV pool."""
        pool, turns = self.pool, self.turns
        held = [(turn, turns.fill[turn]) for turn in self.holding] + self._paged()
        pool.check_integrity(sum(pool.pages(kv_tokens) - pool.shared_pages(turn) for turn, kv_tokens in held))
