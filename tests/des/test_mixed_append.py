"""An append on a pD whose streams get a token in each of its chunks: a what-if that the policy and the run both see."""

from __future__ import annotations

import pytest
from des.costs import cost_model, fleet, talk

from ppdsim.des.cluster import run_cluster
from ppdsim.routing import AlwaysD, PolicyContext, build_policy
from ppdsim.types import Arm

MODEL = cost_model()
BUDGET_S = 0.064
# a decodes for seconds; b's second turn has 3000 new tokens, six chunks of 512.
TALKS = [talk("a", 0.0, (100, 300)), talk("b", 0.0, (16, 2), (3000, 2, 0.5))]


@pytest.mark.parametrize("per_step", [False, True])
def test_an_append_in_mixed_chunks_keeps_the_budget_that_a_whole_one_breaks(per_step):
    def run(policy_name, **knobs):
        # P is far away, so that TTFT is no reason to hand over.
        model = cost_model(link={"handshake_s": 1.0})
        spec = fleet("P pD", model, per_step=per_step, **knobs)
        policy = build_policy(policy_name, {}, PolicyContext(fleet=spec.fleet_model, gamma=1.0, itl_budget_s=BUDGET_S))
        turns = run_cluster(spec, TALKS, policy).turns
        arm, of_a = turns["arm"][2], turns["conversation_id"] == "a"
        return arm, float(turns["itl_max_s"][of_a][0])

    assert run("slo-aware")[0] == Arm.P_FULL
    arm, gap_s = run("slo-aware", enable_mixed_chunk=True)
    assert arm == Arm.APPEND_D
    assert gap_s <= BUDGET_S
    assert run("always-d")[1] > 3 * BUDGET_S  # what the budget was kept from


def test_the_streams_of_a_pd_decode_on_in_the_chunks_of_an_append():
    def last_s(**knobs):
        turns = run_cluster(fleet("P pD", MODEL, **knobs), TALKS, AlwaysD()).turns
        return float(turns["t_last_token_s"][turns["conversation_id"] == "a"][0])

    # a has had six tokens more by the end of the append.
    assert last_s(enable_mixed_chunk=True) < last_s()
