"""In a fleet of several profiles a node is priced with its own curves, and a hand-off with those of its two ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from des.costs import cost_model, handoff
from routing.views import View, request

from ppdsim.des.cluster import run_cluster
from ppdsim.routing import AbstractPolicy, CostAware, FleetModel, PolicyContext, build_policy
from ppdsim.scenario import load
from ppdsim.setup import resolve
from ppdsim.simulation.run import conversations_of
from ppdsim.types import Arm, Transport

FAST = cost_model()
SLOW = cost_model(
    prefill={"token_s": 2.0**-10}, decode={"floor_s": 2.0**-6}, stall={"handoff_s": 0.25}, frontend={"in_s": 1.0},
    link={"wire_s_per_token": 2.0**-12}, chunk=64,
)  # fmt: skip
H200 = "h200x2_llama-3.1-8b_sglang-0.5.17"
H100 = "h100x2_llama-3.1-8b_sglang-0.5.17_derived"


def policy(name: str, *nodes: object, **parameters: object) -> AbstractPolicy:
    context = PolicyContext(fleet=FleetModel(nodes=nodes, transport=Transport.TCP), gamma=1.0)
    return build_policy(name, parameters, context)


def test_a_pair_has_forward_chunks_and_link_of_p_and_the_rest_of_d():
    fleet = FleetModel(nodes=(SLOW, FAST), transport=Transport.TCP)
    pair = fleet.pair(0, 1)
    assert (pair.prefill, pair.handoffs, pair.chunked_prefill_size) == (SLOW.prefill, SLOW.handoffs, 64)
    assert (pair.decode, pair.stall, pair.frontend) == (FAST.decode, FAST.stall, FAST.frontend)
    assert fleet.pair(1, 1) is FAST


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("cost-aware", {}), ("slo-aware", {"itl_budget_ms": 100_000}), ("ppd", {"bypass_threshold_tokens": 0})],
)
def test_a_slow_d_hands_over_and_a_slow_p_makes_d_append(name, parameters):
    view = View(cached=1000, streams=1)
    turn = request(2024)
    assert policy(name, SLOW, FAST, **parameters).decide(turn, view).arm is Arm.APPEND_D
    assert policy(name, FAST, SLOW, **parameters).decide(turn, view).arm is Arm.P_FULL


def test_a_gap_is_as_long_as_the_decode_node_makes_it():
    view = View(cached=1000, streams=4, wait_on_p_s=100.0)
    budget_ms = 1e3 * FAST.stall_gap_s(1000, 300, 4, 1000) + 1.0
    assert policy("slo-aware", SLOW, FAST, itl_budget_ms=budget_ms).decide(request(1300), view).arm is Arm.APPEND_D
    assert policy("slo-aware", FAST, SLOW, itl_budget_ms=budget_ms).decide(request(1300), view).arm is Arm.P_FULL


def test_dynamo_asks_how_much_a_forward_of_that_p_takes():
    how = {"policy": "prefill_load", "prefill_busy_threshold": 1.0}
    view = View(waiting_tokens=100)  # more than a forward of 64, less than one of 512
    assert policy("dynamo", SLOW, FAST, **how).decide(request(9000), view).arm is Arm.APPEND_D
    assert policy("dynamo", FAST, SLOW, **how).decide(request(9000), view).arm is Arm.P_FULL


def test_a_slow_link_of_p_is_seen():
    slow_link = replace(FAST, handoffs={key: handoff(wire_s_per_token=1.0) for key in FAST.handoffs})
    view = View(cached=1000, streams=8)
    assert policy("cost-aware", FAST, FAST).decide(request(4000), view).arm is Arm.P_FULL
    assert policy("cost-aware", slow_link, FAST).decide(request(4000), view).arm is Arm.APPEND_D


def test_an_h200_that_decodes_beside_an_h100_is_no_h100():
    """Priced as if all nodes were the first one, some turns would go elsewhere."""
    scenario = load(
        "one-pair",
        [
            f"fleet.0.profile={H100}",
            f"fleet.1.profile={H200}",
            "routing.policy=cost-aware",
            "workload.conversations=60",
        ],
    )
    spec = resolve(scenario).cluster(seed=0)
    own = spec.fleet_model
    conversations = list(conversations_of(scenario, 0))
    arms = []
    for fleet in (own, replace(own, nodes=(own.nodes[0], own.nodes[0]))):
        turns = run_cluster(spec, conversations, CostAware(fleet=fleet, gamma=1.0)).turns
        arms.append(turns["arm"].tolist())
    assert arms[0] != arms[1]


def test_the_fleets_chunk_size_is_priced_and_not_the_profiles():
    fleet = resolve(load("one-pair", ["chunked_prefill_size=1024"])).cluster(seed=0).fleet_model
    assert {model.chunked_prefill_size for model in fleet.nodes} == {1024}
    assert fleet.pair(0, 1) is fleet.nodes[1]  # equal nodes stay one model, which costs nothing to pair
