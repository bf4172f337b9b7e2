"""KV pages and prefixes: rounding, sharing, eviction, and books that balance whatever happens."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ppdsim.engines.sglang.standin.pool import Holding, KvPool

PAGE = 4


def held(pool: KvPool, ids: list[int]) -> Holding:
    holding = pool.lock(ids)
    pool.take(holding, pool.pages(len(ids)) - holding.shared)
    pool.make_free(0)
    return holding


def keep(pool: KvPool, ids: list[int]) -> None:
    holding = held(pool, ids)
    pool.cache(holding, ids)
    pool.release(holding)


@pytest.mark.parametrize(
    ("kept", "prompt", "found"),
    [(0, 9, 0), (3, 9, 0), (4, 9, 4), (7, 9, 4), (8, 9, 8), (8, 8, 4), (8, 5, 4), (8, 4, 0), (40, 41, 40)],
)
def test_a_prefix_is_found_in_whole_pages_and_never_whole(kept: int, prompt: int, found: int) -> None:
    pool = KvPool(400, PAGE)
    ids = list(range(100))
    if kept:
        keep(pool, ids[:kept])
    assert pool.cached_tokens(ids[:prompt]) == found


def test_another_prefix_is_not_found() -> None:
    pool = KvPool(400, PAGE)
    keep(pool, [1, 2, 3, 4, 5, 6, 7, 8])
    assert pool.cached_tokens([1, 2, 3, 4, 9, 9, 9, 9, 9]) == 4
    assert pool.cached_tokens([9, 2, 3, 4, 5, 6, 7, 8, 9]) == 0


def test_two_requests_with_one_prompt_keep_it_once() -> None:
    pool = KvPool(400, PAGE)
    ids = list(range(12))
    first, second = held(pool, ids), held(pool, ids)
    assert pool.available == 100 - 6
    pool.cache(first, ids)
    pool.cache(second, ids)
    pool.check_integrity([first, second])
    assert pool.available == 100 - 3
    pool.release(first)
    pool.release(second)
    pool.check_integrity([])
    assert pool.available == 100


def test_least_recently_used_goes_first_and_locked_never() -> None:
    pool = KvPool(12 * PAGE, PAGE)
    old, new, locked = ([base, *range(7)] for base in (10, 20, 30))
    for ids in (old, new, locked):
        keep(pool, ids)
    holding = held(pool, [*locked, 0])
    pool.release(pool.lock([*new, 0]))
    extra = pool.lock([])
    pool.take(extra, 7)
    pool.make_free(0)
    assert pool.cached_tokens([*old, 0]) == 0
    assert pool.cached_tokens([*new, 0]) == 8
    assert pool.cached_tokens([*locked, 0]) == 8
    pool.check_integrity([holding, extra])


def test_what_was_put_in_together_goes_together_and_a_part_that_is_used_stays() -> None:
    pool = KvPool(12 * PAGE, PAGE)
    ids = list(range(8 * PAGE))
    keep(pool, ids)
    # Another prompt goes on behind the third page, where the edge is split; its own page is used last.
    keep(pool, [*ids[: 3 * PAGE], *range(900, 900 + PAGE)])
    assert pool.available == 12
    pool.make_free(4)
    assert pool.cached_tokens([*ids, 0]) == 3 * PAGE
    pool.make_free(9)
    assert pool.cached_tokens([*ids, 0]) == 3 * PAGE
    pool.make_free(10)
    assert pool.cached_tokens([*ids, 0]) == 0
    pool.check_integrity([])


def test_to_ask_what_is_cached_changes_nothing() -> None:
    pool = KvPool(8 * PAGE, PAGE)
    old, new = list(range(12)), list(range(100, 112))
    for ids in (old, new):
        keep(pool, ids)
    assert pool.cached_tokens([*old, 0]) == 12
    pool.make_free(3)
    assert pool.cached_tokens([*old, 0]) == 0


def test_more_than_there_is_cannot_be_taken() -> None:
    pool = KvPool(4 * PAGE, PAGE)
    pool.take(pool.lock([]), 5)
    with pytest.raises(RuntimeError, match="more pages than are available"):
        pool.make_free(0)


def test_a_pool_without_prefixes_keeps_none() -> None:
    pool = KvPool(400, PAGE, keeps_prefixes=False)
    keep(pool, list(range(40)))
    assert pool.cached_tokens(list(range(41))) == 0
    assert pool.available == 100


def test_shrinking_evicts_what_nobody_uses() -> None:
    pool = KvPool(100 * PAGE, PAGE)
    keep(pool, list(range(80)))
    holding = held(pool, list(range(1000, 1041)))
    pool.shrink(12 * PAGE)
    pool.check_integrity([holding])
    assert pool.available == 1


def test_flush_forgets() -> None:
    pool = KvPool(400, PAGE)
    keep(pool, list(range(40)))
    pool.flush()
    pool.check_integrity([])
    assert pool.cached_tokens(list(range(41))) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30), st.booleans()), max_size=40))
def test_books_balance(steps: list[tuple[int, int, bool]]) -> None:
    pool, holdings = KvPool(24 * PAGE, PAGE), []
    for stem, tokens, end in steps:
        ids = [stem] * tokens
        holding = pool.lock(ids)
        if pool.pages(tokens) - holding.shared > pool.available:
            pool.release(holding)
        else:
            pool.take(holding, pool.pages(tokens) - holding.shared)
            pool.make_free(0)
            pool.cache(holding, ids)
            holdings.append(holding)
        if end and holdings:
            pool.release(holdings.pop(0))
        pool.check_integrity(holdings)
