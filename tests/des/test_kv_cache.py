"""Pages and prefixes of one node: rounding, reuse, eviction; against a list that does the same in the plainest way."""

from __future__ import annotations

import pytest
from des.costs import talk
from hypothesis import given, settings
from hypothesis import strategies as st

from ppdsim.des.kv_blocks import make_pool
from ppdsim.des.kv_cache import ConversationKvPool
from ppdsim.des.turns import Turns

PAGE = 16


def pool_of(turns: Turns, pages: int) -> ConversationKvPool:
    pool = make_pool(turns, pages * PAGE, PAGE)
    assert isinstance(pool, ConversationKvPool)
    return pool


def serve(pool, turn: int, kv_tokens: int) -> int:
    """Play a turn that holds `kv_tokens` at its end and keeps all of them; return its hit."""
    assert pool.fits(turn, 0, reuse=True)
    hit = pool.acquire(turn, reuse=True)
    prompt = pool._turns.prompt[turn]
    pool.insert(turn, prompt)
    pool.take(pool.pages(kv_tokens) - pool.pages(prompt))
    pool.make_free(0)
    pool.release(turn, kv_tokens, kv_tokens)
    pool.check_integrity(0)
    return hit


def test_a_prefix_is_kept_in_whole_pages():
    turns = Turns([talk("a", 0.0, (100, 11), (50, 1))], None)
    pool = pool_of(turns, 40)
    assert serve(pool, 0, 110) == 0
    # 110 tokens fill 6 pages of 16; the seventh is not whole and goes.
    assert (pool.kept, pool.cached_tokens(1)) == (6, 96)
    assert serve(pool, 1, 161) == 96


def test_the_last_prompt_token_is_always_computed():
    pool = pool_of(Turns([talk("a", 0.0, (32, 1)), talk("b", 0.0, (33, 1))], None), 40)
    # Both prompts are here as a whole: one token is left to compute, so the hit ends at a page below it.
    pool.preload(0, 32)
    pool.preload(1, 33)
    assert (pool.cached_tokens(0), pool.cached_tokens(1)) == (16, 32)


def test_the_conversation_used_least_recently_goes_first():
    turns = Turns([talk(name, float(i), (64, 1), (16, 1)) for i, name in enumerate("abc")], None)
    pool = pool_of(turns, 12)
    for turn in (0, 2, 4):
        serve(pool, turn, 64)
    # a is used again: b is now the oldest.
    assert serve(pool, 1, 81) == 64
    assert [pool.cached_tokens(turn) for turn in (1, 3, 5)] == [80, 0, 64]


def test_an_answer_goes_before_its_prompt_and_a_prompt_chunk_by_chunk():
    turns = Turns([talk("a", 0.0, (64, 33), (16, 1)), talk("b", 1.0, (16, 1)), talk("c", 2.0, (176, 1))], None)
    pool = pool_of(turns, 12)
    pool.acquire(0, reuse=True)
    pool.insert(0, 48)
    pool.insert(0, 64)
    pool.take(2)
    pool.release(0, 96, 96)
    found = []
    for pages in (7, 9, 11):
        pool.make_free(pages)
        found.append(pool.cached_tokens(1))
    assert found == [64, 48, 0]
    assert (pool.evictions, pool.evicted_pages) == (3, 6)


def test_a_look_up_that_leads_to_nothing_is_a_use():
    turns = Turns([talk(name, float(i), (64, 1), (16, 1)) for i, name in enumerate("ab")], None)
    pool = pool_of(turns, 12)
    for turn in (0, 2):
        serve(pool, turn, 64)
    pool.touch(1)
    pool.make_free(8)
    assert [pool.cached_tokens(turn) for turn in (1, 3)] == [64, 0]


def test_a_withdrawn_turn_leaves_its_prompt_as_old_as_it_is():
    turns = Turns([talk(name, float(i), (64, 33), (16, 1)) for i, name in enumerate("ab")], None)
    pool = pool_of(turns, 14)
    pool.acquire(0, reuse=True)
    pool.insert(0, 64)
    pool.take(2)
    pool.acquire(2, reuse=True)
    pool.release(2, 64, 64)
    pool.withdraw(0, 96)
    assert (pool.used, pool.kept) == (0, 8)
    # It was put in before the other one was.
    pool.make_free(7)
    assert [pool.cached_tokens(turn) for turn in (1, 3)] == [0, 64]


@pytest.mark.parametrize("keep", [False, True])
def test_a_turn_comes_back_with_pages_for_all_of_it(keep):
    turns = Turns([talk("a", 0.0, (64, 33), (16, 1))], None)
    pool = pool_of(turns, 14)
    pool.acquire(0, reuse=True)
    if keep:
        pool.insert(0, 64)
    pool.take(2)
    pool.withdraw(0, 90)
    pool.restore(0, 90, keep=keep)
    pool.check_integrity(6)
    assert pool.kept == 0
    pool.withdraw(0, 90)
    # All whole pages of a copy that came back are in the cache.
    assert pool.kept == (5 if keep else 0)


def test_what_runs_is_never_evicted():
    turns = Turns([talk("a", 0.0, (64, 1)), talk("b", 1.0, (64, 1)), talk("c", 2.0, (64, 1))], None)
    pool = pool_of(turns, 8)
    for turn in (0, 1):
        pool.acquire(turn, reuse=True)
    assert not pool.fits(2, 0, reuse=True)
    pool.release(0, 64, 0)
    assert pool.fits(2, 0, reuse=True)
    assert not pool.fits(2, 1, reuse=True)


def test_a_page_lost_is_found():
    pool = pool_of(Turns([talk("a", 0.0, (64, 1))], None), 8)
    pool.acquire(0, reuse=True)
    pool.check_integrity(4)
    with pytest.raises(RuntimeError, match="do not balance"):
        pool.check_integrity(3)
    pool.free -= 1
    with pytest.raises(RuntimeError, match="capacity"):
        pool.check_integrity(4)


class PlainLru:
    """Conversations with their parts, in whole pages, oldest first."""

    def __init__(self, pages: int) -> None:
        self.pages, self.order = pages, []

    def kept(self) -> int:
        return sum(sum(parts) for _, parts in self.order)

    def serve(self, name: int, prompt: int, kv_tokens: int) -> int:
        parts = dict(self.order).get(name, [])
        hit = min(sum(parts), (prompt - 1) // PAGE)
        if hit:
            self.order = [item for item in self.order if item[0] != name]
        else:
            parts = []
        while self.kept() + -(-kv_tokens // PAGE) > self.pages:
            self.order[0][1].pop()
            self.order = [item for item in self.order if item[1]]
        parts = [*parts, prompt // PAGE - sum(parts), kv_tokens // PAGE - prompt // PAGE]
        parts = [pages for pages in parts if pages]
        if parts:
            self.order = [item for item in self.order if item[0] != name] + [(name, parts)]
        return hit * PAGE


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 60), st.integers(1, 40)), min_size=1, max_size=30))
def test_it_does_what_a_plain_list_does(visits):
    """Turns of five conversations, one at a time, in any order."""
    mine = [[(new, output) for name, new, output in visits if name == i] for i in range(5)]
    turns = Turns([talk(i, 0.0, *rounds) for i, rounds in enumerate(mine) if rounds], None)
    rows = {(turns.ids[turns.conversation[row]], turns.number[row]): row for row in range(turns.count)}
    # Room for the longest turn and a little more, so that most visits evict somebody.
    pages = -(-max(turns.prompt[row] + turns.output[row] for row in range(turns.count)) // PAGE) + 3
    pool, plain, seen = pool_of(turns, pages), PlainLru(pages), [0] * 5
    for name, _, output in visits:
        row = rows[name, seen[name]]
        seen[name] += 1
        kv_tokens = turns.prompt[row] + output - 1
        assert serve(pool, row, kv_tokens) == plain.serve(name, turns.prompt[row], kv_tokens)
        assert pool.kept == plain.kept()
