"""Load balancers, sticky sessions and caps in the simulator, against timelines worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from des.costs import cost_model, fleet, talk

from ppdsim.des.cluster import Cluster, run_cluster
from ppdsim.des.inflight import ConversationCap
from ppdsim.des.turns import Turns
from ppdsim.routing import BALANCERS, AlwaysD, AlwaysP, CostAware

MODEL = cost_model()
TALKS = [talk(i, 0.01 * i, (100, 40), (30, 20, 0.5), (30, 20, 0.5)) for i in range(8)]


def test_round_robin_spreads_both_roles_by_arrival():
    spec = fleet("P P D D D", MODEL, prefill_policy="round_robin", decode_policy="round_robin", sticky_sessions=False)
    talks = [talk(i, 1.0 * i, (100, 4)) for i in range(6)]
    turns = run_cluster(spec, talks, AlwaysP()).turns
    assert turns["prefill_node"].tolist() == [0, 1, 0, 1, 0, 1]
    assert turns["decode_node"].tolist() == [2, 3, 4, 2, 3, 4]


def test_manual_keeps_a_conversation_where_it_was_although_nothing_is_cached_there():
    how = {"prefill_policy": "manual", "decode_policy": "manual"}
    turns = run_cluster(fleet("P P D D", MODEL, **how), TALKS, AlwaysP()).turns
    for column in ("prefill_node", "decode_node"):
        by_talk = turns[column].reshape(8, 3)
        assert np.all(by_talk == by_talk[:, :1])
        assert len(set(by_talk[:, 0])) == 2


def test_sticky_sessions_return_to_the_prefix_and_without_them_nobody_looks_for_it():
    def homes(sticky: bool) -> np.ndarray:
        spec = fleet("P pD pD", MODEL, decode_policy="round_robin", sticky_sessions=sticky)
        return run_cluster(spec, TALKS, AlwaysD()).turns["decode_node"].reshape(8, 3)

    assert np.all(homes(True) == homes(True)[:, :1])
    assert not np.all(homes(False) == homes(False)[:, :1])


@pytest.mark.parametrize("name", BALANCERS)
def test_every_balancer_carries_all_turns_and_repeats_with_its_seed(name):
    def run(seed: int):
        spec = fleet(
            "P P pD pD D U", MODEL, prefill_policy=name, decode_policy=name, sticky_sessions=False, router_seed=seed
        )
        return run_cluster(spec, TALKS, AlwaysD()).turns

    first, again = run(3), run(3)
    assert np.all(first["status"] == "ok")
    assert first["decode_node"].tolist() == again["decode_node"].tolist()
    if name == "random":
        assert first["decode_node"].tolist() != run(4)["decode_node"].tolist()


def test_a_cap_hands_a_place_on_in_order():
    cap = ConversationCap(1)
    assert [cap.admit(turn) for turn in (0, 3, 5)] == [True, False, False]
    assert [cap.release(), cap.release(), cap.release()] == [3, 5, None]
    assert cap.admit(7)
    assert all(ConversationCap(None).admit(turn) for turn in range(99))


def test_a_client_cap_counts_conversations_and_sends_the_next_when_one_has_ended():
    talks = [talk("a", 0.0, (100, 8), (30, 8, 2.0)), talk("b", 0.1, (100, 8))]
    turns = run_cluster(fleet("U", MODEL, client_max_conversations=1), talks, AlwaysP()).turns
    # While a thinks for two seconds nobody is served, and b is not sent: the cap is on conversations.
    assert turns["t_arrival_s"][1] == pytest.approx(turns["t_last_token_s"][0] + 2.0)
    assert turns["t_arrival_s"][2] == pytest.approx(turns["t_last_token_s"][1])
    assert turns["ttft_s"][2] == pytest.approx(turns["ttft_s"][0])


def test_a_front_end_cap_lets_it_wait_and_the_wait_is_in_ttft():
    talks = [talk("a", 0.0, (100, 8), (30, 8, 2.0)), talk("b", 0.1, (100, 8))]
    for roles in ("U", "P D"):
        turns = run_cluster(fleet(roles, MODEL, frontend_max_conversations=1), talks, AlwaysP()).turns
        wait_s = turns["t_last_token_s"][1] - 0.1
        assert turns["t_arrival_s"][2] == 0.1
        assert turns["ttft_s"][2] == pytest.approx(turns["ttft_s"][0] + wait_s)
        assert turns["queue_s"][2] - turns["queue_s"][0] == pytest.approx(wait_s)


def test_a_rejected_conversation_gives_its_place_to_the_next():
    talks = [talk("a", 0.0, (5000, 8)), talk("b", 0.1, (100, 8))]
    for cap in ("client_max_conversations", "frontend_max_conversations"):
        turns = run_cluster(fleet("U", MODEL, pool=2000, **{cap: 1}), talks, AlwaysP()).turns
        assert turns["status"].tolist() == ["rejected", "ok"]
        assert turns["t_arrival_s"][1] == 0.1


def test_the_view_knows_what_p_still_has_to_do_how_fast_turns_come_and_what_the_link_carries():
    talks = [talk(i, 0.0, (400, 8)) for i in range(4)]
    cluster = Cluster(fleet("P pD", MODEL, until_s=0.02), Turns(talks), AlwaysP())
    cluster.run()
    router = cluster.router
    view = router._view
    view.point_to(0, 0.02)
    assert view.waiting_tokens(0) == 1600
    assert view.turns_per_s(1) == 0.4  # four in ten seconds
    assert view.kv_pool_tokens(1) == 100_000
    view.point_to(0, 10.01)
    assert view.turns_per_s(1) == 0.0
    links = cluster.prefill[0].links
    links._free_s[1] = 12.0
    assert view.link_wait_s(0, 1, wire_s=0.5) == pytest.approx(1.99)


@pytest.mark.parametrize(("nic", "arm"), [(None, "p-full"), ("one", "append-d")])
def test_a_policy_sees_what_the_other_p_sends_through_the_nic_that_both_share(nic, arm):
    """While a's 4000 tokens are on the wire for four seconds, b's 600 go over a free link, or at half speed."""
    model = cost_model(link={"wire_s_per_token": 2.0**-10, "fresh_wire_s_per_token": 0.0, "early_share": 0.0})
    spec = fleet(
        "P P pD pD", model, nic=nic, prefill_policy="manual", chunked_prefill_size=8192, residents=8,
        resident_context_tokens=40,
    )  # fmt: skip
    talks = [talk("b", 0.0, (16, 2), (600, 2, 2.0)), talk("a", 0.01, (4000, 2))]
    # J of the append is some 0.9 s, TTFT of the hand-off 0.66 s, and 1.26 s where its KV takes twice as long.
    policy = CostAware(fleet=spec.fleet_model, gamma=2.5)
    turns = run_cluster(spec, talks, policy).turns
    assert turns["prefill_node"].tolist()[::2] == [0, 1]
    assert turns["arm"][1] == arm
