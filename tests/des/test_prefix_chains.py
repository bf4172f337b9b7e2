"""Chains of prompts: a conversation read from blocks is the conversation, and machines hold the same of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppdsim.des.kv_blocks import BlockKvPool, make_pool
from ppdsim.des.kv_cache import AbstractKvPool, ConversationKvPool
from ppdsim.des.turns import Turns
from ppdsim.workload.base import BLOCK_TOKENS, Conversation, TurnSpec
from ppdsim.workload.mooncake import MooncakeTrace

ROOM_TOKENS = 10**7
"""A pool that never evicts."""
Chain = list[tuple[int, int]]

CHAIN = st.lists(st.tuples(st.integers(1, 2_000), st.integers(1, 900)), min_size=1, max_size=5)


@st.composite
def interleaved(draw: st.DrawFn) -> tuple[list[Chain], list[int]]:
    """Draw chains of (new, answer) tokens, and the order in which they take turns."""
    chains = draw(st.lists(CHAIN, min_size=1, max_size=5))
    turns = [number for number, chain in enumerate(chains) for _ in chain]
    return chains, draw(st.permutations(turns))


def prompts(chain: Chain) -> list[int]:
    context, found = 0, []
    for new, answer in chain:
        found.append(context + new)
        context = found[-1] + answer
    return found


def hits(pool: AbstractKvPool, order: list[int]) -> list[int]:
    """Serve turns one after another on a P, which keeps prompts; return what each one reused."""
    found = []
    for turn in order:
        found.append(pool.acquire(turn, reuse=True))
        prompt = pool._turns.prompt[turn]
        pool.release(turn, prompt, prompt)
        pool.check_integrity(0)
    return found


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=interleaved())
def test_what_is_cached_by_conversation_is_cached_by_blocks(drawn: tuple[list[Chain], list[int]], tmp_path: Path):
    chains, order = drawn
    first_sent = list(dict.fromkeys(order))
    talks = [
        Conversation(
            conversation_id=number,
            arrival_s=float(order.index(number)),
            turns=tuple(TurnSpec(new_tokens=new, output_tokens=answer) for new, answer in chains[number]),
        )
        for number in first_sent
    ]
    known = Turns(talks)
    by_conversation = make_pool(known, ROOM_TOKENS, BLOCK_TOKENS)
    assert isinstance(by_conversation, ConversationKvPool)
    start = dict(zip(first_sent, known.first, strict=True))
    taken = {number: itertools.count(start[number]) for number in first_sent}
    rows = [next(taken[number]) for number in order]

    fresh = itertools.count(10**6)
    lengths = {number: iter(prompts(chain)) for number, chain in enumerate(chains)}
    path = tmp_path / "trace.jsonl"
    with path.open("w") as file:
        for place, number in enumerate(order):
            tokens = next(lengths[number])
            # A whole block is the conversation's own; what is in a partial one changes with the next prompt.
            ids = [1000 * number + block for block in range(tokens // BLOCK_TOKENS)]
            ids += [next(fresh)] * (tokens % BLOCK_TOKENS > 0)
            row = {"timestamp": 1000 * place + place % 7, "input_length": tokens, "output_length": 1, "hash_ids": ids}
            file.write(json.dumps(row) + "\n")
    read = list(MooncakeTrace(path=path).conversations(np.random.default_rng(0)))
    told = Turns(read)
    by_blocks = make_pool(told, ROOM_TOKENS, BLOCK_TOKENS)
    assert isinstance(by_blocks, BlockKvPool)
    sent = [c.arrival_s if turn.arrival_s is None else turn.arrival_s for c in read for turn in c.turns]
    in_order = sorted(range(told.count), key=lambda turn: sent[turn])

    assert [told.prompt[turn] for turn in in_order] == [known.prompt[turn] for turn in rows]
    assert hits(by_blocks, in_order) == hits(by_conversation, rows)
    if all(chain[0][0] >= BLOCK_TOKENS for chain in chains):
        # With a whole block to know it by, each conversation is found again, turn by turn.
        assert [len(conversation.turns) for conversation in read] == [len(chains[number]) for number in first_sent]
