"""What machines did and what turns found there, against numbers worked out by hand; times in ms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from des.costs import cost_model, fleet, talk
from des.scenes import scenes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppdsim.des.cluster import Cluster, run_cluster
from ppdsim.des.turns import Turns
from ppdsim.routing import AlwaysD, AlwaysP
from ppdsim.workload.base import BLOCK_TOKENS, Conversation, TurnSpec

PLAIN = cost_model(
    prefill={
        "floor_s": 0.010,
        "token_s": 1e-4,
        "attention_s_per_token2": 0.0,
        "kv_read_s_per_token": 0.0,
    },
    decode={"floor_s": 0.010, "row_s": 0.0, "context_s_per_token": 0.0, "start_s": 0.0},
    stall={"launch_s": 0.010},
    frontend={"in_s": 0.0, "in_s_per_token": 0.0, "out_s": 0.0},
    link={
        "handshake_s": 0.0,
        "prefix_s": 0.0,
        "wire_s_per_token": 2e-4,
        "fresh_wire_s_per_token": 0.0,
        "early_share": 0.0,
        "join_s": 0.0,
    },
)


@pytest.fixture(params=[False, True], ids=["closed form", "per step"])
def per_step(request):
    return request.param


def test_a_unified_server_of_two_conversations(per_step):
    """Forwards of 10 + 0.1 a token, steps of 10, pages of 16.

    A0 (128 new, 5 out) runs from 0; B0 (64 new, 2 out) arrives at 35; A ends at 79.2, and after 20 of thought A1 (64
    new, 2 out) arrives at 99.2 with a prompt of 197, of which 132 tokens of KV are whole in 8 pages. Its forward of 80
    padded tokens and one step end at 127.2.
    """
    spec = fleet("U", PLAIN, overlap_schedule=False, per_step=per_step)
    results = run_cluster(spec, [talk("a", 0.0, (128, 5), (64, 2, 0.020)), talk("b", 0.035, (64, 2))], AlwaysD())
    found = results.summary()

    # Idle while A's user thinks.
    assert found["busy"]["decode"] == {
        "mean_share": pytest.approx(107.2 / 127.2),
        "max_share": pytest.approx(107.2 / 127.2),
    }
    assert found["busy"]["prefill"] == found["busy"]["link"] == {"mean_share": None, "max_share": None}
    assert found["links"] == []
    assert results.turns["decode_streams"].tolist() == [0, 0, 1]
    assert results.turns["decode_held_tokens"].tolist() == [0, 128, 0]
    cache = found["prefix_cache"]["decode"]
    assert cache["hit_rate"] == 128 / (128 + 197 + 64)
    assert (cache["follow_ups"], cache["held_share"], cache["uncached_tokens"]["p50"]) == (1, 1.0, 197 - 128)
    assert (cache["evictions"], cache["evicted_tokens"]) == (0, 0)
    # Pages: A0 8; then A has decoded two tokens, 9, and B0 4; A1 13. The most is A with 131 tokens beside B with 65.
    pages = 100_000 // 16
    assert found["kv_pool"]["decode"] == {
        "mean_share": pytest.approx((8 + 13 + 13) / 3 / pages),
        "max_share": pytest.approx(14 / pages),
    }


def test_a_machine_that_is_cut_off_at_work_was_busy_until_then(per_step):
    """The same server, cut off at 110: idle from 79.2 to 99.2."""
    spec = fleet("U", PLAIN, overlap_schedule=False, per_step=per_step, until_s=0.110)
    talks = [talk("a", 0.0, (128, 5), (64, 2, 0.020)), talk("b", 0.035, (64, 2))]
    activity = run_cluster(spec, talks, AlwaysD()).activity
    assert activity.span_s == pytest.approx(0.110)
    assert activity.nodes[0].busy_s == pytest.approx(0.110 - 0.020)


def test_a_pair_whose_prefill_machine_forgets(per_step):
    """P holds 12 pages: B's prompt of 7 pages evicts the 6 whole ones of A's, so A's second turn finds nothing."""
    spec = fleet("P D", PLAIN, num_reserved_decode_tokens=0, per_step=per_step)
    spec = replace(spec, nodes=(replace(spec.nodes[0], kv_pool_tokens=12 * 16), spec.nodes[1]))
    talks = [talk("a", 0.0, (100, 2), (10, 2, 1.0)), talk("b", 0.5, (100, 2))]
    found = run_cluster(spec, talks, AlwaysP()).summary()
    cache = found["prefix_cache"]["prefill"]
    # The second turn of A evicts B's prefix in turn.
    assert (cache["evictions"], cache["evicted_tokens"]) == (2, 2 * 96)
    assert (cache["hit_rate"], cache["held_share"], cache["uncached_tokens"]["max"]) == (0.0, 0.0, 112)
    assert found["kv_pool"]["prefill"] == {"mean_share": 7 / 12, "max_share": 7 / 12}
    # D keeps nothing by design, and no turn asks it.
    assert found["prefix_cache"]["decode"]["hit_rate"] is None
    assert found["prefix_cache"]["decode"]["held_share"] is None
    # Three forwards of 10 + 11.2 (100 and 112 tokens are both computed as 112), and each prompt on the link once.
    busy = found["busy"]
    assert busy["link"]["mean_share"] / busy["prefill"]["mean_share"] == pytest.approx(
        2e-4 * (100 + 100 + 112) / (3 * (0.010 + 1e-4 * 112))
    )
    assert found["links"] == [{"link": "0-1", "busy_share": busy["link"]["mean_share"]}]


def test_a_roomy_prefill_machine_remembers(per_step):
    spec = fleet("P D", PLAIN, per_step=per_step)
    found = run_cluster(spec, [talk("a", 0.0, (100, 2), (10, 2, 1.0))], AlwaysP()).summary()["prefix_cache"]["prefill"]
    assert (found["hit_rate"], found["held_share"], found["uncached_tokens"]["p50"]) == (96 / 212, 1.0, 16.0)


@pytest.mark.parametrize("page", [1, 16])
def test_a_decode_machine_without_a_cache_keeps_no_token(per_step, page):
    spec = fleet("P D", replace(PLAIN, page_size_tokens=page), per_step=per_step)
    cluster = Cluster(spec, Turns([talk("a", 0.0, (110, 2), (10, 3, 1.0))]), AlwaysP())
    cluster.run()
    pool = cluster.decode[1].pool
    assert (pool.free, pool.used, pool.kept) == (pool.capacity, 0, 0)
    assert cluster.prefill[0].pool.kept > 0


def test_a_mixed_machine_is_asked_by_appends_and_not_by_whole_hand_offs():
    talks = [talk("a", 0.0, (100, 29), (10, 2, 1.0))]
    appended, handed = (run_cluster(fleet("P pD", PLAIN), talks, policy) for policy in (AlwaysD(), AlwaysP()))
    # 100 + 29 tokens, of which the last has no KV: 8 pages.
    for results in (appended, handed):
        assert results.turns["decode_held_tokens"].tolist() == [0, 128]
        assert results.summary()["prefix_cache"]["decode"]["held_share"] == 1.0
    assert appended.summary()["prefix_cache"]["decode"]["hit_rate"] == 128 / 139
    assert handed.summary()["prefix_cache"]["decode"]["hit_rate"] is None


def test_blocks_are_held_in_whole_blocks_and_evicted_one_by_one():
    def request(number, arrival_s, tokens, blocks):
        turn = TurnSpec(new_tokens=tokens, output_tokens=2, block_ids=blocks)
        return Conversation(conversation_id=number, arrival_s=arrival_s, turns=(turn,))

    size = BLOCK_TOKENS
    asked = [
        request(0, 0.0, 2 * size, (1, 2)),
        request(1, 5.0, 2 * size + 9, (1, 2, 3)),
        request(2, 9.0, 4 * size, (4, 5, 6, 7)),
    ]
    spec = fleet("P D", PLAIN)
    spec = replace(spec, nodes=(replace(spec.nodes[0], kv_pool_tokens=5 * size + 16), spec.nodes[1]))
    found = run_cluster(spec, asked, AlwaysP()).summary()["prefix_cache"]["prefill"]
    assert found["hit_rate"] == 2 * size / (8 * size + 9)
    assert (found["evictions"], found["evicted_tokens"]) == (1, size)


def forks(*turns):
    """Return a conversation of turns that are sent 10 s apart, each of (whole blocks, tokens behind them)."""
    specs = []
    for number, (blocks, part_tokens) in enumerate(turns):
        tokens = BLOCK_TOKENS * len(blocks) + part_tokens
        # A block that is not whole has an id of its own.
        ids = (*blocks, *([-1 - number] if part_tokens else []))
        sent_s = 10.0 * number if number else None
        specs.append(TurnSpec(new_tokens=tokens, output_tokens=2, arrival_s=sent_s, block_ids=ids))
    return [Conversation(conversation_id="a", arrival_s=0.0, turns=tuple(specs))]


@pytest.mark.parametrize("kept_on", ["prefill", "decode"])
def test_turns_that_go_on_from_one_prompt_each_ask_for_that_prompt(kept_on, per_step):
    """Three turns fork from blocks 1, 2: with 4 more blocks, with one, and the prompt asked again as it was.

    A machine with room holds what each one goes on with: blocks 1 and 2 of the first two forks, and of the repeated
    prompt, whose last token is always computed, block 1. The last turn goes on from the first fork.
    """
    talks = forks(((1, 2), 0), ((1, 2, 3, 4, 5, 6), 9), ((1, 2, 7), 9), ((1, 2), 0), ((1, 2, 3, 4, 5, 6, 8), 0))
    size = BLOCK_TOKENS
    spec = fleet("P D" if kept_on == "prefill" else "P pD", PLAIN, per_step=per_step)
    results = run_cluster(spec, talks, AlwaysP() if kept_on == "prefill" else AlwaysD())
    column = {"prefill": "prefill_cached_tokens", "decode": "decode_held_tokens"}[kept_on]
    assert results.turns[column].tolist() == [0, 2 * size, 2 * size, size, 6 * size]
    cache = results.summary()["prefix_cache"][kept_on]
    assert (cache["follow_ups"], cache["held_share"]) == (4, 1.0)
    # The first turn, of two blocks, asks P alone.
    prompts = (2 if kept_on == "prefill" else 0) + 6 + 3 + 2 + 7
    assert cache["hit_rate"] == 11 * size / (prompts * size + 18)
    # Uncached: 4 blocks and 9, one block and 9, one block, one block.
    assert (cache["uncached_tokens"]["max"], cache["uncached_tokens"]["p50"]) == (4 * size + 9, size + 4.5)


def test_a_fork_whose_prompt_was_evicted_is_not_held(per_step):
    """P holds 6 blocks and the page more that a forward asks for; the first fork takes them all.

    The second one's two of its own evict the last two of them.

    The third asks the first fork's prompt again, and finds 4 of the 5 blocks that are not its last one.
    """
    size = BLOCK_TOKENS
    talks = forks(((1, 2), 0), ((1, 2, 3, 4, 5, 6), 0), ((1, 2, 7, 8), 0), ((1, 2, 3, 4, 5, 6), 0))
    spec = fleet("P D", PLAIN, per_step=per_step, num_reserved_decode_tokens=0)
    spec = replace(spec, nodes=(replace(spec.nodes[0], kv_pool_tokens=6 * size + 16), spec.nodes[1]))
    results = run_cluster(spec, talks, AlwaysP())
    assert results.turns["prefill_cached_tokens"].tolist() == [0, 2 * size, 2 * size, 4 * size]
    cache = results.summary()["prefix_cache"]["prefill"]
    assert (cache["follow_ups"], cache["held_share"]) == (3, 2 / 3)


def test_pairs_that_share_a_nic_are_one_link():
    talks = [talk(i, 0.0, (100, 2)) for i in range(2)]
    apart, shared = (run_cluster(fleet("P P D", PLAIN, nic=nic), talks, AlwaysP()) for nic in (None, "one"))
    assert [link.name for link in apart.activity.links] == ["0-2", "1-2"]
    assert [link.name for link in shared.activity.links] == ["NIC one"]
    assert shared.activity.links[0].busy_s == pytest.approx(2 * 0.020)
    assert [link.busy_s for link in apart.activity.links] == pytest.approx([0.020, 0.020])


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(scenes(), st.floats(0.01, 3.0), st.booleans())
def test_a_run_that_is_cut_off_has_done_no_more_than_its_time_allows(scene, until_s, per_step):
    spec, conversations, policy = scene
    results = run_cluster(replace(spec, until_s=until_s, per_step=per_step), conversations, policy)
    activity = results.activity
    assert 0.0 <= activity.span_s <= until_s
    for each in (*activity.nodes, *activity.links):
        assert 0.0 <= each.busy_s <= activity.span_s + 1e-9
    for node in activity.nodes:
        assert node.admitted_pool_tokens <= node.admissions * node.largest_pool_tokens
        assert node.largest_pool_tokens <= node.pool_tokens
    prompts = results.turns["input_tokens"]
    assert np.all(results.turns["decode_held_tokens"] < prompts)
