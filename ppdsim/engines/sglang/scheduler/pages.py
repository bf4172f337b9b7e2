"""How much of what is cached SGLang evicts, on any server: a little more than the coming step takes.

::

    a forward      new tokens + a page for each prompt in it
    a decode step  a page for each stream
    a retraction   20 tokens for each stream that stays

Source: SGLang 0.5.17, mem_cache/allocation.py alloc_paged_token_slots_extend, alloc_paged_token_slots_decode
("assume each request needs a new page"), alloc_token_slots; managers/schedule_batch.py release_req.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppdsim.des.batching import Piece
from ppdsim.des.kv_cache import AbstractKvPool
from ppdsim.des.node_memory import AbstractNodeMemory
from ppdsim.engines.sglang.environ import RETRACT_DECODE_STEPS


def evict_for_forward(pool: AbstractKvPool, pieces: Sequence[Piece]) -> None:
    """Make room for a forward whose pages are taken already; pages of one token need no page more."""
    page, spare = pool.page, len(pieces)
    if pool.free >= spare:
        return
    if page == 1:
        spare = 0
    elif spare > 1:
        tokens = [piece.tokens for piece in pieces]
        spare += -(-sum(tokens) // page) - sum(-(-count // page) for count in tokens)
    pool.make_free(spare)


def evict_after_retraction(node: AbstractNodeMemory) -> None:
    """Make room for some steps of the streams that stay, at the expense of what is cached."""
    node.pool.make_free(node.pool.pages((node.streams - node.residents) * RETRACT_DECODE_STEPS))
