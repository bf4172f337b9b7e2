"""The router's books: homes, loads, warm prefill nodes, and decisions that nobody can carry out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from des.costs import cost_model, fleet, talk

from ppdsim.des.cluster import Cluster, run_cluster
from ppdsim.des.turns import Turns
from ppdsim.routing import AbstractPolicy, AlwaysP, Decision
from ppdsim.types import Arm
from ppdsim.workload.base import BLOCK_TOKENS, Conversation, TurnSpec

MODEL = cost_model()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed(AbstractPolicy):
    """Says the same whatever it is asked."""

    decision: Decision

    def decide(self, request, view):
        return self.decision

    def appends(self, request, view, node, prefill):
        raise AssertionError


@pytest.mark.parametrize(
    ("roles", "arm", "prefill", "decode", "message"),
    [
        ("P D", Arm.P_FULL, 0, 0, "node 0 does not decode"),
        ("P D", Arm.APPEND_D, 1, 1, r"node 1 \(D\) may not prefill this turn"),
        ("P pD", Arm.APPEND_D, 1, 1, r"node 1 \(pD\) may not prefill this turn"),  # nothing of it is cached there
        ("P pD", Arm.APPEND_D, 0, 1, r"node 1 \(pD\) may not prefill this turn"),
        ("P D U", Arm.P_FULL, 0, 2, "no p-full from node 0 to node 2"),
        ("P D", Arm.P_DELTA, 0, 1, "no p-delta from node 0 to node 1"),
        ("P D D", Arm.P_FULL, 2, 1, "no p-full from node 2 to node 1"),
    ],
)
def test_a_decision_that_nobody_can_carry_out_is_an_error(roles, arm, prefill, decode, message):
    policy = Fixed(decision=Decision(arm=arm, prefill_node=prefill, decode_node=decode))
    with pytest.raises(ValueError, match=f"policy Fixed: {message}"):
        run_cluster(fleet(roles, MODEL), [talk(0, 0.0, (10, 1))], policy)


def test_turns_spread_over_decode_nodes_and_return_to_where_their_prefix_is():
    talks = [talk(i, 0.001 * i, (100, 50), (10, 2, 1.0)) for i in range(4)]
    kept = run_cluster(fleet("P P D D", MODEL, disaggregation_decode_enable_radix_cache=True), talks, AlwaysP()).turns
    nodes = kept["decode_node"].reshape(4, 2)
    assert nodes[:, 0].tolist() == [2, 3, 2, 3]
    assert nodes[:, 1].tolist() == nodes[:, 0].tolist()
    # Each prompt went to the P with fewer turns, and its second turn to where the first one lies.
    assert kept["prefill_node"].reshape(4, 2).tolist() == [[0, 0], [1, 1], [0, 0], [1, 1]]


def test_a_d_that_keeps_nothing_is_no_home():
    talks = [talk("a", 0.0, (100, 50), (10, 2, 0.0)), talk("b", 0.1, (100, 500))]
    turns = run_cluster(fleet("P D D", MODEL), talks, AlwaysP()).turns
    busy = turns["decode_node"][2]
    assert turns["decode_node"][0] == 1
    assert turns["decode_node"][1] != busy


def test_a_promise_is_the_work_that_the_node_would_have_now():
    cluster = Cluster(fleet("U", MODEL, until_s=50.0), Turns([talk("a", 0.0, (100, 30), (40, 2, 99.0))]), AlwaysP())
    cluster.run()
    assert cluster.decode[0].backlog.wait_s(50.0) == 0.0
    cluster.router.book(1, cluster.router.decide(1, 50.0), 50.0)
    # A prompt of 100 + 30 + 40, of which 129 // 16 pages are here.
    assert cluster.decode[0].backlog.wait_s(50.0) == pytest.approx(
        MODEL.prefill.seconds(170 - 128, 128, 512), rel=1e-12
    )


def test_a_p_draws_a_turn_only_with_a_good_share_of_its_prompt():
    def request(number: int, tokens: int) -> Conversation:
        own = range(1000 * (number + 1), 1000 * (number + 2))
        ids = (1, *own)[: -(-tokens // BLOCK_TOKENS)]
        turn = TurnSpec(new_tokens=tokens, output_tokens=1, block_ids=ids)
        return Conversation(conversation_id=number, arrival_s=100.0 * number, turns=(turn,))

    requests = [request(0, 1024), request(1, 1024), request(2, 5120)]
    cluster = Cluster(fleet("P P D", MODEL, until_s=50.0), Turns(requests), AlwaysP())
    cluster.run()
    router = cluster.router
    assert cluster.turns.prefill_node[0] == 0
    router.prefill_loads[0] += 1
    # Half of the second prompt is cached on the busy P, of the third a tenth: that one goes where nobody waits.
    assert router.decide(1, 50.0).prefill_node == 0
    assert router.decide(2, 50.0).prefill_node == 1
