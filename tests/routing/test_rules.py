"""Each policy at a case worked out by hand: the last input on either side of its line."""

from __future__ import annotations

from dataclasses import replace

import pytest
from des.costs import cost_model
from routing.views import View, request

from ppdsim.cost.prefill import PrefillWork
from ppdsim.engine_record import ChunkRule
from ppdsim.routing import FleetModel, PolicyContext, build_policy
from ppdsim.types import Arm, Transport

MODEL = cost_model()
FLEET = FleetModel(nodes=(MODEL, MODEL), transport=Transport.TCP)
CONTEXT = PolicyContext(fleet=FLEET, gamma=1.0)


def appends(name, prompt, view, *, context=CONTEXT, **parameters) -> bool:
    return build_policy(name, parameters, context).decide(request(prompt), view).arm is Arm.APPEND_D


@pytest.mark.parametrize(
    ("name", "longest"),
    # llm-d: 16 uncached and more are handed over. vLLM: 64. TensorRT-LLM: more than 0 unmatched are. PPD: 512.
    [("llm-d", 15), ("vllm-pull", 63), ("tensorrt-llm", 0), ("threshold", 511)],
)
def test_the_longest_append_of_a_preset(name, longest):
    assert appends(name, 1000 + longest, View(cached=1000))
    assert not appends(name, 1000 + longest + 1, View(cached=1000))


def test_the_knobs_of_presets_are_the_routers_own():
    assert appends("llm-d", 1511, View(cached=1000), nonCachedTokens=512)
    assert not appends("llm-d", 1512, View(cached=1000), nonCachedTokens=512)
    assert appends("llm-d", 9000, View(cached=1), nonCachedTokens=0)  # off: never hands over what it knows
    assert not appends("vllm-pull", 1063, View(cached=1000), kv_recompute_threshold=0)
    assert appends("tensorrt-llm", 1100, View(cached=1000), max_local_prefill_length=100)
    assert not appends("tensorrt-llm", 1101, View(cached=1000), max_local_prefill_length=100)


def test_dynamo_isl_bounding_wants_both_bounds():
    # 2047 of 4096 uncached: a ratio of 0.4998. 2048 is no longer below X.
    assert appends("dynamo", 4096, View(cached=2049))
    assert not appends("dynamo", 4096, View(cached=2048))
    # 70 of 100 is not below Y = 0.7, 69 is.
    assert appends("dynamo", 100, View(cached=31))
    assert not appends("dynamo", 100, View(cached=30))
    assert appends("dynamo", 100, View(cached=30), eff_isl_ratio_threshold=0.71)
    assert not appends("dynamo", 100, View(cached=50), eff_isl_threshold=50)


def test_dynamo_prefill_load_appends_when_p_has_more_than_a_share_of_a_forward():
    # The cost model's P takes 512 tokens a forward: half of it is 256.
    how = {"policy": "prefill_load", "prefill_busy_threshold": 0.5}
    assert appends("dynamo", 9000, View(cached=1, waiting_tokens=257), **how)
    assert not appends("dynamo", 9000, View(cached=1, waiting_tokens=256), **how)
    # A short append does not matter to it, and without a threshold nothing is busy.
    assert not appends("dynamo", 1001, View(cached=1000, waiting_tokens=256), **how)
    assert not appends("dynamo", 9000, View(cached=1, waiting_tokens=10**6), policy="prefill_load")


def test_dynamo_isl_or_load_takes_either():
    how = {"policy": "isl_or_load", "prefill_busy_threshold": 0.5}
    assert appends("dynamo", 1001, View(cached=1000), **how)
    assert appends("dynamo", 9000, View(cached=1, waiting_tokens=257), **how)
    assert not appends("dynamo", 9000, View(cached=1, waiting_tokens=256), **how)


def test_dynamo_guard_keeps_a_full_decode_worker_free():
    # 8000 tokens in use and a prompt of 1000 on a pool of 10,000: 0.9 is not above 0.9, one more token is.
    view = View(cached=999, streams=8, pool_tokens=10_000)
    assert appends("dynamo", 1000, view, decode_busy_threshold=0.9)
    assert not appends("dynamo", 1001, view, decode_busy_threshold=0.9)


def test_ppd_takes_short_inputs_whatever_they_cost():
    assert appends("ppd", 1511, View(cached=1000, streams=64, turns_per_s=1e6))
    assert not appends("ppd", 1512, View(cached=1000, streams=64, turns_per_s=1e6))


def test_ppd_weighs_ttft_gained_against_the_time_streams_stand_still():
    held, new, streams = 1000, 600, 4
    append_s = MODEL.append_ttft_s(held, new)
    handoff_s = MODEL.handoff_ttft_s(Arm.P_FULL, Transport.TCP, held, new, 0)
    stall_s = MODEL.stall_s(Arm.APPEND_D, held, new, streams, 1000)
    rate = (handoff_s - append_s) / handoff_s / stall_s  # where gain and loss are equal
    assert rate > 0.0
    for factor, appended in ((0.999, True), (1.001, False)):
        assert appends("ppd", held + new, View(cached=held, streams=streams, turns_per_s=rate * factor)) is appended
    # Twice the weight on TTFT, twice the rate.
    view = View(cached=held, streams=streams, turns_per_s=1.999 * rate)
    assert appends("ppd", held + new, view, w_ttft=2)
    assert not appends("ppd", held + new, view)


def test_cost_aware_sees_the_link():
    # Much to append, nobody at P: handed over, unless the link has ten seconds of KV to carry.
    assert not appends("cost-aware", 3000, View(cached=1000, streams=50))
    assert appends("cost-aware", 3000, View(cached=1000, streams=2, link_wait_s=10.0))


def test_slo_aware_keeps_the_largest_gap_within_the_budget():
    held, new, streams = 1000, 300, 4
    gap_s = MODEL.stall_gap_s(held, new, streams, 1000)
    view = View(cached=held, streams=streams, wait_on_p_s=100.0)
    assert appends("slo-aware", held + new, view, itl_budget_ms=1001 * gap_s)
    assert not appends("slo-aware", held + new, view, itl_budget_ms=999 * gap_s)
    # An append that waits on the node runs just before it, and streams wait for both.
    busy = View(cached=held, streams=streams, wait_s=0.01, wait_on_p_s=100.0)
    assert not appends("slo-aware", held + new, busy, itl_budget_ms=1001 * gap_s)
    assert appends("slo-aware", held + new, busy, itl_budget_ms=1001 * gap_s + 10.0)
    # Nobody decodes: no gap. P is quicker: no append.
    assert appends("slo-aware", held + new, View(cached=held, wait_on_p_s=100.0), itl_budget_ms=0)
    assert not appends("slo-aware", held + new, View(cached=held, wait_s=100.0), itl_budget_ms=10**9)


def test_slo_aware_takes_the_budget_of_the_scenario():
    view = View(cached=1000, streams=4, wait_on_p_s=100.0)
    gap_s = MODEL.stall_gap_s(1000, 300, 4, 1000)
    assert appends("slo-aware", 1300, view, context=replace(CONTEXT, itl_budget_s=1.001 * gap_s))
    assert not appends("slo-aware", 1300, view, context=replace(CONTEXT, itl_budget_s=0.999 * gap_s))


def test_slo_aware_splits_an_append_where_the_streams_get_a_token_in_every_chunk():
    # Four streams leave 508 of 512 tokens: 1016 new ones are two chunks, and the second, on 508 more cached tokens, is
    # the longer one. It has the streams' four rows, and reads their 4000 tokens of KV.
    held, streams = 1000, 4
    curve = MODEL.prefill
    attention, rows = 508 * (held + 508 + 508 / 2), 508 + streams
    gap_s = curve.forward_s(PrefillWork(rows, attention, held + 508)) + 4000 * MODEL.decode.context_s_per_token
    assert gap_s < MODEL.stall_gap_s(held, 1016, streams, 1000)
    # Work that waits on the node opens no gap of its own.
    view = View(cached=held, streams=streams, wait_s=1.0, wait_on_p_s=100.0)
    model = replace(MODEL, engine=replace(MODEL.engine, chunk_rule=ChunkRule.MIXED_STEPS))
    mixed = replace(CONTEXT, fleet=replace(FLEET, nodes=(model, model)))
    assert appends("slo-aware", held + 1016, view, context=mixed, itl_budget_ms=1001 * gap_s)
    assert not appends("slo-aware", held + 1016, view, context=mixed, itl_budget_ms=999 * gap_s)
    assert not appends("slo-aware", held + 1016, View(cached=held, streams=streams), itl_budget_ms=1001 * gap_s)
    # A longer append is more such chunks.
    assert appends("slo-aware", held + 1017, view, context=mixed, itl_budget_ms=1001 * gap_s)


def test_the_oracle_does_what_its_plan_says():
    context = replace(CONTEXT, plan=frozenset({("a", 2)}))
    oracle = build_policy("oracle", {}, context)
    assert oracle.decide(request(9000, turn=2), View(cached=1)).arm is Arm.APPEND_D
    assert oracle.decide(request(9000, turn=1), View(cached=1)).arm is Arm.P_FULL
