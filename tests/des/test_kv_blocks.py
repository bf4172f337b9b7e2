"""Residency by block: leading runs of ids, shared between turns, tails evicted before heads."""

from __future__ import annotations

import pytest

from ppdsim.des.kv_blocks import BlockKvPool, make_pool
from ppdsim.des.turns import Turns
from ppdsim.errors import ScenarioError
from ppdsim.workload.base import BLOCK_TOKENS, Conversation, TurnSpec


def request(identity: int, tokens: int, *blocks: int) -> Conversation:
    turn = TurnSpec(new_tokens=tokens, output_tokens=1, block_ids=blocks)
    return Conversation(conversation_id=identity, arrival_s=float(identity), turns=(turn,))


def pool_of(*requests: Conversation, blocks: int = 10, page: int = 64) -> BlockKvPool:
    pool = make_pool(Turns(requests, None), blocks * BLOCK_TOKENS, page)
    assert isinstance(pool, BlockKvPool)
    return pool


def serve(pool: BlockKvPool, turn: int) -> int:
    hit = pool.acquire(turn, reuse=True)
    pool.make_free(0)
    prompt = pool._turns.prompt[turn]
    pool.release(turn, prompt, prompt)
    pool.check_integrity(0)
    return hit


def test_requests_of_different_conversations_share_a_leading_run():
    pool = pool_of(
        request(0, 1600, 1, 2, 3, 4), request(1, 1700, 1, 2, 7, 8), request(2, 1536, 9, 2, 3), request(3, 1600, 1, 2, 3)
    )
    assert serve(pool, 0) == 0
    # The fourth block of request 0 is partial and is not kept.
    assert pool.kept == 3 * BLOCK_TOKENS // 64
    assert serve(pool, 1) == 2 * BLOCK_TOKENS
    # A run that does not start at the beginning is no prefix.
    assert serve(pool, 2) == 0
    assert serve(pool, 3) == 3 * BLOCK_TOKENS


def test_the_last_token_is_computed_even_if_every_block_is_here():
    pool = pool_of(request(0, 1024, 1, 2), request(1, 1024, 1, 2), request(2, 1025, 1, 2, 3))
    serve(pool, 0)
    assert pool.cached_tokens(1) == BLOCK_TOKENS
    assert pool.cached_tokens(2) == 2 * BLOCK_TOKENS


def test_a_shared_block_is_counted_once_and_is_locked_while_anybody_uses_it():
    pool = pool_of(request(0, 1024, 1, 2), request(1, 1100, 1, 2, 3), request(2, 1200, 1, 2, 4), blocks=4)
    serve(pool, 0)
    block_pages = BLOCK_TOKENS // 64
    for turn in (1, 2):
        assert pool.fits(turn, 0, reuse=True)
        assert pool.acquire(turn, reuse=True) == 2 * BLOCK_TOKENS
    # Two blocks together, and 76 and 176 tokens of their own: 2 and 3 pages.
    assert (pool.used, pool.kept, pool.free) == (5, 0, 2 * block_pages - 5)
    pool.check_integrity(5)
    pool.release(1, 1100, 1100)
    assert pool.kept == 0
    pool.release(2, 1200, 1200)
    assert pool.kept == 2 * block_pages


def test_tails_go_before_heads():
    pool = pool_of(request(0, 1536, 1, 2, 3), request(1, 600, 8, 9), request(2, 1600, 1, 2, 3, 4), blocks=4)
    serve(pool, 0)
    # 10 pages are needed and 8 are free: one block goes, and it is the deepest.
    assert serve(pool, 1) == 0
    assert pool.cached_tokens(2) == 2 * BLOCK_TOKENS


def test_without_reuse_nothing_is_matched_and_blocks_are_not_held_twice():
    pool = pool_of(request(0, 1024, 1, 2), request(1, 1100, 1, 2, 3))
    serve(pool, 0)
    assert pool.acquire(1, reuse=False) == 0
    assert pool.used == pool.pages(1100)
    pool.release(1, 1100, 1100)
    pool.check_integrity(0)
    assert pool.kept == 2 * BLOCK_TOKENS // 64


def test_pages_must_divide_blocks_and_prefixes_cannot_be_put_in_place():
    with pytest.raises(ScenarioError, match="page_size 48 does not divide"):
        pool_of(request(0, 100, 1), page=48)
    with pytest.raises(ScenarioError, match="preloaded prefix"):
        pool_of(request(0, 100, 1)).preload(0, 64)
