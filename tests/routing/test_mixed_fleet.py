"""In a fleet of several profiles a node is priced with its own curves, and a hand-off with those of its two ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from des.costs import SGLANG, cost_model, handoff, talk
from routing.views import View, request

from ppdsim.des.cluster import run_cluster
from ppdsim.des.spec import ClusterSpec, NodeSpec
from ppdsim.engines.sglang.scheduler import SCHEDULER
from ppdsim.routing import AbstractPolicy, AlwaysP, CostAware, FleetModel, PolicyContext, build_policy
from ppdsim.scenario import load
from ppdsim.setup import resolve
from ppdsim.simulation.run import conversations_of
from ppdsim.types import Arm, NodeRole, Transport

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
    assert (pair.on_p.prefill, pair.on_p.chunked_prefill_size) == (SLOW.prefill, 64)
    assert pair.handoff(Arm.P_FULL, Transport.TCP) == SLOW.handoff(Arm.P_FULL, Transport.TCP)
    assert pair.prefill is FAST.prefill  # what an append takes
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
    view = View(cached=1, waiting_tokens=100)  # more than a forward of 64, less than one of 512
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


def test_kv_moves_at_the_wire_of_the_narrower_side():
    """Each of four GPUs sends a quarter, and the one GPU that takes it all is the bottleneck; and the reverse."""
    narrow = cost_model(link={"wire_s_per_token": 2.0**-10, "fresh_wire_s_per_token": 2.0**-12, "handshake_s": 0.5})
    wide = cost_model(link={"wire_s_per_token": 2.0**-12, "fresh_wire_s_per_token": 2.0**-14, "join_s": 0.25})
    full = (Arm.P_FULL, Transport.TCP)
    for sender, receiver in ((wide, narrow), (narrow, wide)):
        curve = sender.handoff_to(receiver, *full)
        assert (curve.wire_s_per_token, curve.fresh_wire_s_per_token) == (2.0**-10, 2.0**-12)
        own = sender.handoff(*full)
        assert (curve.handshake_s, curve.join_s) == (own.handshake_s, own.join_s)
        fleet = FleetModel(nodes=(sender, receiver), transport=Transport.TCP)
        assert fleet.pair(0, 1).handoff(*full) == curve
        nodes = tuple(
            NodeSpec(role=role, model=model, kv_pool_tokens=100_000)
            for role, model in ((NodeRole.P, sender), (NodeRole.D, receiver), (NodeRole.D, sender))
        )
        spec = ClusterSpec(
            nodes=nodes,
            scheduler=SCHEDULER,
            transport=Transport.TCP,
            decode_policy="round_robin",
            **SGLANG.knobs({}),
        )
        found = run_cluster(spec, [talk(0, 0.0, (1000, 2)), talk(1, 100.0, (1000, 2))], AlwaysP()).turns
        by_node = dict(zip(found["decode_node"].tolist(), found["kv_transfer_s"].tolist(), strict=True))
        wire = 1000 * (2.0**-10 + 2.0**-12)
        assert by_node[1] == pytest.approx(wire)
        assert by_node[2] == pytest.approx(wire if sender is narrow else wire / 4)
    assert wide.handoff_to(replace(narrow, handoffs={}), *full) is wide.handoff(*full)


def test_a_narrower_side_counts_in_every_draw():
    draws = np.array([[1e-4], [3e-4]])
    found = handoff(wire_s_per_token=draws).narrowed_by(handoff(wire_s_per_token=2e-4))
    assert found.wire_s_per_token.tolist() == [[2e-4], [3e-4]]


def test_a_pair_of_two_profiles_says_that_it_is_unmeasured():
    mixed = load("one-pair", [f"fleet.0.profile={H100}", "workload.conversations=2"])
    expected = f"KV from {H100} (1 GPU a server) to {H200} (1 GPU a server) moves at the slower of their wires"
    assert [note for note in resolve(mixed).notes if "slower of their wires" in note] == [
        f"mechanism, unmeasured: {expected}"
    ]
    assert not any("slower" in note for note in resolve(load("one-pair")).notes)
    linked = load("one-pair", [f"fleet.0.profile={H100}", "link_bytes_per_s=1e9"])
    assert not any("slower" in note for note in resolve(linked).notes)
