"""Whom a decode server (D, and pD, which no release has) admits, and how its retracted streams come back.

It leaves `num_reserved_decode_tokens` for every turn already there, and admits a hand-off only if it and the longest
running answer could each end with all other streams retracted::

    room after the prompt  >=  max(reserve * active, longest - running KV)
                               + max(reserve + pad, min(max_new, 4096) - running KV)

with pad = what the prompt's last page has room for, beside a prefix cache only, longest = the largest prompt +
min(max_new, 4096) among the streams, and as `max_new` the length of the answer. Its retracted streams keep a copy on
the host and a queue of their own that comes before all others; at every step the first of them resumes where its KV and
its reserve fit beside the reserve of the others. Source: SGLang 0.5.17, disaggregation/decode.py pop_preallocated,
_required_alloc_tokens, _need_space_for_single_req, resume_retracted_reqs, process_decode_queue.

Not modelled: the cost of copying retracted KV; that a stream which has just ended counts for one step more.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppdsim.des.admission import AbstractAdmission
from ppdsim.des.batching import Piece
from ppdsim.des.node_memory import AbstractNodeMemory
from ppdsim.des.spec import ClusterSpec
from ppdsim.engines.sglang.environ import CLIP_MAX_NEW_TOKENS
from ppdsim.engines.sglang.scheduler.pages import evict_after_retraction, evict_for_forward
from ppdsim.engines.sglang.scheduler.retraction import most_tokens_first


class ReserveAdmission(AbstractAdmission):
    """Pre-allocation of one decode server."""

    __slots__ = ("_pool", "_reserved_tokens", "_turns")

    resumes_from_copy = True

    def __init__(self, node: AbstractNodeMemory, spec: ClusterSpec) -> None:
        super().__init__(node)
        self._turns, self._pool = node.turns, node.pool
        self._reserved_tokens = spec.num_reserved_decode_tokens

    def could_hold(self, turn: int) -> bool:
        """Return whether the prompt and the larger of answer and reserve fit."""
        pool, prompt, output = self._pool, self._turns.prompt[turn], self._turns.output[turn]
        return pool.pages(prompt) + pool.pages(max(output, self._reserved_tokens)) <= pool.capacity

    def admits(self, turn: int, slots: int, *, reuse: bool) -> bool:
        """Return whether one of `slots` is free and the prompt fits beside the reserve of all."""
        node = self._node
        if node.retracted or node.active >= slots:
            return False
        pool, reserve_tokens = self._pool, self._reserved_tokens * (node.active + 1)
        if not reuse:
            # Without a prefix cache the rest of the prompt's last page is room.
            reserve_tokens -= -self._turns.prompt[turn] % pool.page
        fits = pool.fits(turn, -(-reserve_tokens // pool.page), reuse=reuse)
        if reuse and not fits:
            pool.touch(turn)
        return fits

    def steps_until_it_fits(self, turn: int, *, reuse: bool) -> int:
        """Return after how many steps at the earliest a hand-off and the longest answer could each end alone.

        A step makes KV retractable and takes pages: the streams' last pages have `slack` tokens of room, so n steps
        take at least ``growing n - slack`` tokens.
        """
        turns, pool, node = self._turns, self._pool, self._node
        # Only where pages are few is it worth while to look at every stream.
        page, own = pool.page, self._reserved_tokens
        reserve = own * node.active
        most = max(reserve, turns.longest) + own + page
        if (pool.free + pool.kept) * page >= most + turns.prompt[turn] + turns.output[turn]:
            return 0
        room = pool.room_tokens(turn) if reuse else pool.available * page - turns.prompt[turn]
        if reuse:
            own += -turns.prompt[turn] % page
        running = node.running()
        retractable = sum(kv_tokens + 1 for _, kv_tokens in running)
        longest = max((turns.prompt[i] + min(turns.output[i], CLIP_MAX_NEW_TOKENS) for i, _ in running), default=0)
        longest -= retractable
        wanted = min(turns.output[turn], CLIP_MAX_NEW_TOKENS) - retractable
        missing = max(reserve, longest) + max(own, wanted) - room
        if missing <= 0:
            return 0
        if reuse:
            pool.touch(turn)
        growing, falling = len(running), (longest > reserve) + (wanted > own)
        slack = sum(-kv_tokens % page for _, kv_tokens in running)
        if not growing or not falling or (falling == 1 and missing > slack):
            return -1
        return max(-(-missing // (falling * growing)), -(-(missing - slack) // growing))

    def takes_back(self, kv_tokens: int) -> bool:
        """Return whether a retracted stream fits beside the reserve of all."""
        node, pool = self._node, self._pool
        # One that would be alone has to have room for its next token, or the engine would abort it.
        alone = node.streams == node.residents
        return kv_tokens + max(self._reserved_tokens * (node.active + 1), alone) <= pool.available * pool.page

    def formed(self, pieces: Sequence[Piece]) -> None:
        """Evict for a forward."""
        evict_for_forward(self._pool, pieces)

    def withdrawn(self) -> None:
        """Evict for the streams that stay."""
        evict_after_retraction(self._node)

    def keep_order(self) -> list[tuple[int, int]]:
        """Return the streams with the most tokens so far first, then those with the shortest prompts."""
        return most_tokens_first(self._node)
