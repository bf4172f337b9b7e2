"""What does not fit the machine is left out by name, whatever kind of cell it is; a long conversation ends in time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ppdsim.engines.client import EngineInfo, decoding
from ppdsim.measure.cells import DecodeCell, LoadCell, PrefillCell, StallCell
from ppdsim.measure.limits import (
    TAIL_TOKENS,
    Limits,
    clipped,
    conversation_tokens,
    limits_of,
    longest_request_tokens,
    need_tokens,
    turns_within,
)
from ppdsim.measure.plan import (
    DECODE_OUTPUT_TOKENS,
    STALL_OUTPUT_TOKENS,
    cells_of,
    conversations_of,
    load_plan,
)
from ppdsim.types import Arm, Transport

UNIFIED = (Arm.APPEND_D, Transport.NONE)
FULL_TCP = (Arm.P_FULL, Transport.TCP)
PLAN = load_plan("full")
ROOMY = Limits(kv_pool_tokens=10**7, context_tokens=10**6)
TURN = PrefillCell(arm=Arm.APPEND_D, transport=Transport.NONE, cached_tokens=4096, new_tokens=8192)
STALL = StallCell(arm=Arm.P_FULL, transport=Transport.TCP, batch=2, prompt_tokens=100, cached_tokens=640, new_tokens=60)
DECODE = DecodeCell(batch=32, prompt_tokens=256)
LOAD = next(cell for cell in cells_of(PLAN, *UNIFIED) if isinstance(cell, LoadCell))


def left_out(cell, limits, **options):
    # A held-out cell is never moved.
    found = clipped([replace(cell, purpose="validation")], limits, PLAN, **options)
    assert len(found.kept) + len(found.passed) == 1
    return [f"{one.needs}, {one.limit}" for one in found.passed]


def server(pool_tokens, context_tokens, together=None):
    return EngineInfo(
        name="sglang",
        version="0.5.17",
        model="llama",
        kv_pool_tokens=pool_tokens,
        page_size_tokens=64,
        chunked_prefill_size=8192,
        max_running_requests=together,
        context_tokens=context_tokens,
    )


def test_the_smallest_server_of_a_role_decides_and_the_smallest_context_of_all():
    servers = {
        "prefill": server(20_000, 20_000, 2),
        "prefill-1": server(10_000, 9_000, 1),
        "decode": server(400_000, 30_000, 16),
        "decode-1": server(300_000, None, 300),
        "decode-2": server(500_000, None),
    }
    assert decoding(servers) is servers["decode-1"]
    assert limits_of(PLAN, servers) == Limits(
        kv_pool_tokens=300_000, context_tokens=9_000, max_running_requests=16, prefill_pool_tokens=10_000
    )


def test_one_server_has_no_pool_of_p_and_the_plan_bounds_what_it_does_not_say():
    assert limits_of(PLAN, {"unified": server(300_000, None, 300)}) == Limits(
        kv_pool_tokens=300_000, context_tokens=PLAN.longest_context_tokens, max_running_requests=300
    )


def test_what_does_not_fit_is_left_out_by_name():
    cells = [replace(TURN, cached_tokens=0), replace(TURN, cached_tokens=0, new_tokens=64), DECODE]
    found = clipped(cells, Limits(kv_pool_tokens=8_000, context_tokens=40_000), PLAN)
    assert found.kept == (cells[1],)
    assert found.lines == (
        "1 prefill cell left out, the pool has 8000 (such as fit/prefill/append-d/0/8192: needs 8256 tokens of KV)",
        "1 decode cell left out, the pool has 8000 (such as fit/decode/32/256: needs "
        f"{32 * (256 + DECODE_OUTPUT_TOKENS)} tokens of KV)",
    )
    assert left_out(TURN, replace(ROOMY, context_tokens=10_000)) == [
        "12352 tokens with its answer, the longest is 10000"
    ]
    assert left_out(DECODE, replace(ROOMY, max_running_requests=16)) == ["32 streams, max_running_requests is 16"]


def test_a_cell_to_fit_moves_to_the_longest_prefix_that_halving_gives():
    limits = replace(ROOMY, context_tokens=4096)
    cells = [replace(TURN, cached_tokens=16_384, new_tokens=m) for m in (64, 128)]
    found = clipped(cells, limits, PLAN)
    assert [(cell.cached_tokens, cell.new_tokens) for cell in found.kept] == [(2048, 64), (2048, 128)]
    assert found.lines == (
        "2 prefill cells moved to fewer cached tokens, the longest is 4096 "
        "(such as fit/prefill/append-d/16384/64 at 2048 cached tokens)",
    )


@pytest.mark.parametrize("purpose", ["fit", "validation"])
def test_a_cell_never_moves_to_a_place_that_is_taken(purpose):
    there = replace(TURN, cached_tokens=2048, new_tokens=64, purpose=purpose)
    moving = [replace(TURN, cached_tokens=cached, new_tokens=64) for cached in (4096, 8192)]
    found = clipped([*moving, there], replace(ROOMY, context_tokens=4096), PLAN)
    assert found.kept == (there,)
    assert len(found.passed) == 2


def test_prefixes_of_moved_cells_are_whole_pages():
    cell = replace(TURN, cached_tokens=64 * 65, new_tokens=64)
    (moved,) = clipped([cell], replace(ROOMY, context_tokens=4096), PLAN).kept
    assert moved.cached_tokens == 64 * 32


def test_a_stall_needs_its_residents_and_the_turn():
    assert need_tokens(STALL) == 2 * (100 + STALL_OUTPUT_TOKENS) + 640 + 60 + TAIL_TOKENS


def test_the_turn_of_a_stall_is_a_request_beside_its_residents():
    assert left_out(STALL, replace(ROOMY, max_running_requests=3)) == []
    assert left_out(STALL, replace(ROOMY, max_running_requests=2)) == ["3 streams, max_running_requests is 2"]


@pytest.mark.parametrize(
    ("cell", "longest"),
    [
        (TURN, 4096 + 8192),
        (DECODE, 256 + DECODE_OUTPUT_TOKENS),
        (STALL, 100 + STALL_OUTPUT_TOKENS),
        (replace(STALL, cached_tokens=4096), 4096 + 60),
    ],
    ids=["prefill", "decode", "residents", "injected turn"],
)
def test_the_longest_request_of_every_kind_has_to_fit_the_context(cell, longest):
    assert longest_request_tokens(cell) == longest + TAIL_TOKENS
    assert left_out(cell, replace(ROOMY, context_tokens=longest + TAIL_TOKENS)) == []
    assert left_out(cell, replace(ROOMY, context_tokens=longest + TAIL_TOKENS - 1))


def test_p_holds_a_prefix_for_each_turn_where_d_would_keep_it():
    one, three = (2 * 100 + n * 640 + 60 + TAIL_TOKENS for n in (1, 3))
    assert left_out(STALL, replace(ROOMY, prefill_pool_tokens=one)) == []
    assert left_out(STALL, replace(ROOMY, prefill_pool_tokens=one), decode_radix=True) == [
        f"needs {three} tokens of KV on P, the pool of P has {one}"
    ]
    assert left_out(STALL, replace(ROOMY, prefill_pool_tokens=three), decode_radix=True) == []


def test_nothing_is_left_out_for_a_pool_that_is_not_known():
    assert left_out(TURN, replace(ROOMY, kv_pool_tokens=None)) == []
    assert left_out(LOAD, replace(ROOMY, kv_pool_tokens=None)) == []


def test_a_load_ends_its_long_conversations_and_says_how_many_turns_it_lost():
    limits = replace(ROOMY, context_tokens=2048)
    found = clipped([LOAD], limits, PLAN)
    assert found.kept == (LOAD,)
    longest = conversation_tokens(limits)
    fitting, turns = turns_within(PLAN, LOAD, longest)
    assert turns == sum(len(conversation.turns) for conversation in conversations_of(PLAN, LOAD))
    assert 0 < fitting < turns
    assert found.shortened == (
        f"{LOAD.key}: {turns - fitting} of {turns} turns left out, conversations end at {longest} tokens",
    )
    assert found.lines == found.shortened


def test_a_load_none_of_whose_turns_fits_is_left_out():
    assert left_out(LOAD, Limits(kv_pool_tokens=256, context_tokens=4096)) == [
        "no turn fits, conversations end at 128 tokens"
    ]


@pytest.mark.parametrize("name", ["quick", "full", "pair", "rates"])
@pytest.mark.parametrize("arm", [UNIFIED, FULL_TCP, (Arm.P_DELTA, Transport.TCP)])
def test_what_is_kept_of_a_shipped_plan_fits_4096_tokens(name, arm):
    plan = load_plan(name)
    limits = Limits(kv_pool_tokens=100_000, context_tokens=4096)
    kept = clipped(cells_of(plan, *arm), limits, plan).kept
    assert len({cell.key for cell in kept}) == len(kept)
    for cell in kept:
        assert longest_request_tokens(cell) <= 4096
        assert need_tokens(cell) <= 100_000
