"""What every registered policy must keep: a pure function of request and view, which never sees the answer's length."""

from __future__ import annotations

from dataclasses import replace

import pytest
from des.costs import cost_model, fleet, talk
from hypothesis import given
from hypothesis import strategies as st
from routing.views import View, request

from ppdsim.des.cluster import run_cluster
from ppdsim.errors import ScenarioError
from ppdsim.routing import POLICIES, FleetModel, PolicyContext, build_policy
from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.view import AbstractClusterView, Request
from ppdsim.types import Arm, Transport

MODEL = cost_model()
FLEET = FleetModel(nodes=(MODEL, MODEL), transport=Transport.TCP)
CONTEXT = PolicyContext(fleet=FLEET, gamma=1.0, plan=frozenset({("a", 1), ("3", 0)}))
PARAMETERS: dict[str, dict[str, bool | int | float | str]] = {
    "always-p": {},
    "always-d": {},
    "threshold": {"threshold_tokens": 60},
    "llm-d": {},
    "vllm-pull": {},
    "tensorrt-llm": {},
    "dynamo": {"policy": "isl_or_load", "prefill_busy_threshold": 0.5, "decode_busy_threshold": 0.9},
    "ppd": {"bypass_threshold_tokens": 100, "w_tpot": 2},
    "cost-aware": {},
    "slo-aware": {"itl_budget_ms": 50},
    "oracle": {},
}
"""One case a policy; a new policy adds a line."""


@pytest.fixture(params=list(POLICIES))
def policy(request) -> AbstractPolicy:
    return build_policy(request.param, PARAMETERS[request.param], CONTEXT)


def test_every_policy_has_a_case():
    assert set(PARAMETERS) == set(POLICIES)


def test_equal_views_get_equal_decisions(policy):
    view = View(cached=1000, streams=4)
    assert policy.decide(request(1500), view) == policy.decide(request(1500), view)
    assert replace(policy) == policy


def test_a_decision_is_one_that_the_fleet_can_carry_out(policy):
    for view in (View(), View(cached=900, streams=64), View(cached=900, wait_s=1.0)):
        found = policy.decide(request(1000), view)
        assert found.decode_node == 1
        assert (found.arm, found.prefill_node) in ((Arm.APPEND_D, 1), (Arm.P_FULL, 0))


@pytest.mark.parametrize("turn", [0, 1])
def test_a_turn_of_which_d_has_nothing_is_prefilled_by_p(policy, turn):
    assert policy.decide(request(1000, turn=turn), View(cached=0)).arm is Arm.P_FULL


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "oracle"])
def test_the_number_of_a_turn_decides_nothing(name):
    policy = build_policy(name, PARAMETERS[name], CONTEXT)
    for view in (View(cached=990), View(cached=500, streams=4), View(cached=64, wait_on_p_s=1.0)):
        assert policy.decide(request(1000, turn=0), view) == policy.decide(request(1000, turn=7), view)


@given(
    prompt=st.integers(1, 100_000),
    share=st.floats(0, 1),
    on_p=st.floats(0, 1),
    streams=st.integers(0, 256),
    waits=st.tuples(st.floats(0, 10), st.floats(0, 10), st.floats(0, 10)),
    waiting=st.integers(0, 100_000),
    rate=st.floats(0, 100),
    arm=st.sampled_from([Arm.P_FULL, Arm.P_DELTA]),
    turn=st.integers(0, 3),
)
@pytest.mark.parametrize("name", POLICIES)
def test_every_view_gets_a_legal_decision(name, prompt, share, on_p, streams, waits, waiting, rate, arm, turn):
    # The last token of a prompt is always computed.
    cached, cached_p = int(share * (prompt - 1)), int(on_p * (prompt - 1))
    view = View(
        cached=cached,
        on_p=cached_p,
        streams=streams,
        wait_s=waits[0],
        wait_on_p_s=waits[1],
        link_wait_s=waits[2],
        waiting_tokens=waiting,
        turns_per_s=rate,
        arm=arm,
    )
    chooses = build_policy(name, PARAMETERS[name], CONTEXT)
    found = chooses.decide(request(prompt, turn), view)
    assert (found.arm, found.prefill_node, found.decode_node) in ((Arm.APPEND_D, 1, 1), (arm, 0, 1))
    assert cached or found.arm is arm
    assert chooses.decide(request(prompt, turn), view) == found


def test_nothing_that_a_policy_may_see_tells_the_length_of_the_answer():
    seen = set(Request._fields) | {name for name in dir(AbstractClusterView) if name[0] != "_"}
    assert not {name for name in seen if "output" in name or "answer" in name or "remaining" in name}


def test_longer_answers_change_no_decision_made_before_they_end(policy):
    """Turns that all arrive before anybody has answered are routed alike, whatever the answers will be."""
    spec = fleet("P P pD pD", MODEL, disaggregation_decode_enable_radix_cache=True)

    def decisions(answer: int) -> list[tuple[str, int, int]]:
        talks = [talk(i, 1e-4 * i, (50 + 40 * i, answer * (1 + i % 3))) for i in range(12)]
        turns = run_cluster(spec, talks, policy).turns
        return list(
            zip(turns["arm"].tolist(), turns["prefill_node"].tolist(), turns["decode_node"].tolist(), strict=True)
        )

    assert decisions(2) == decisions(300)


def test_thresholds_and_costs_decide_as_their_formulas_say():
    small = build_policy("threshold", {"threshold_tokens": 100}, CONTEXT)
    assert small.decide(request(1099), View(cached=1000)).arm is Arm.APPEND_D
    assert small.decide(request(1100), View(cached=1000)).arm is Arm.P_FULL
    costs = build_policy("cost-aware", {}, CONTEXT)
    # Nobody decodes there: no stall to pay for, and the hand-off is saved.
    assert costs.decide(request(1064), View(cached=1000)).arm is Arm.APPEND_D
    # A thousand streams would each lose the append.
    assert costs.decide(request(1064), View(cached=1000, streams=1000)).arm is Arm.P_FULL
    # A long queue in front of the append.
    assert costs.decide(request(1064), View(cached=1000, wait_s=10.0)).arm is Arm.P_FULL
    dear = build_policy("cost-aware", {}, replace(CONTEXT, gamma=1000.0))
    assert dear.decide(request(1064), View(cached=1000, streams=1)).arm is Arm.P_FULL


@pytest.mark.parametrize("arm", [Arm.P_FULL, Arm.P_DELTA])
@pytest.mark.parametrize("on_p", [0, 800])
@pytest.mark.parametrize(("new", "streams", "gamma"), [(64, 1, 1.0), (256, 4, 0.5), (2000, 32, 2.0)])
def test_costs_are_compared_to_the_last_millisecond(arm, on_p, new, streams, gamma):
    """J of both arms, written out; the decision turns where the waits make up for the difference, and nowhere else."""
    held, prompt = 1000, 1000 + new
    step_s = MODEL.decode.step_s(streams, 1000 * streams)
    hidden_s = min(step_s, MODEL.prefill.prepare_s)
    append_s = (
        MODEL.append_ttft_s(held, new)
        + 1.5 * step_s
        - hidden_s
        + gamma * streams * MODEL.stall_s(Arm.APPEND_D, held, new, streams, 1000)
    )
    handoff_s = (
        MODEL.handoff_ttft_s(arm, Transport.TCP, held, prompt - held, on_p)
        + step_s
        + gamma * streams * MODEL.stall_s(arm, held, new, streams, 1000)
    )
    costs = build_policy("cost-aware", {}, replace(CONTEXT, gamma=gamma))
    lead_s = handoff_s - append_s
    for off_s in (-1e-6, 1e-6):
        # The dearer arm gets no wait; the cheaper one as much as makes them equal, and a little less or more.
        waits = (lead_s + off_s, 0.0) if lead_s > 0 else (0.0, -lead_s - off_s)
        view = View(cached=held, on_p=on_p, streams=streams, wait_s=waits[0], wait_on_p_s=waits[1], arm=arm)
        assert costs.decide(request(prompt), view).arm is (Arm.APPEND_D if off_s < 0 else arm)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("always-p", {"threshold_tokens": 3}, "unknown parameter 'threshold_tokens'"),
        ("threshold", {"treshold_tokens": 3}, "did you mean 'threshold_tokens'"),
        ("threshold", {"threshold_tokens": -1}, "expected a count of tokens"),
        ("threshold", {"threshold_tokens": 1.5}, "given 1.5"),
        ("threshold", {"threshold_tokens": True}, "given True"),
        ("llm-d", {"threshold_tokens": 3}, r"unknown parameter 'threshold_tokens' \(valid: nonCachedTokens\)"),
        ("dynamo", {"policy": "isl_bound"}, "did you mean 'isl_bounding'"),
        ("dynamo", {"eff_isl_ratio_threshold": 1.5}, "given 1.5, expected a number from 0 to 1"),
        ("dynamo", {"decode_busy_threshold": -1}, "routing.parameters.decode_busy_threshold: given -1"),
        ("ppd", {"w_ttft": "much"}, "w_ttft: given 'much', expected a number from 0"),
        ("ppd", {"w_ttft": float("inf")}, "w_ttft: given inf"),
        ("slo-aware", {"itl_budget_ms": float("nan")}, "itl_budget_ms: given nan"),
        ("slo-aware", {"enable_mixed_chunk": True}, "unknown parameter 'enable_mixed_chunk'"),  # it is the scenario's
    ],
)
def test_wrong_parameters_are_named(name, parameters, message):
    with pytest.raises(ScenarioError, match=message):
        build_policy(name, parameters, CONTEXT)


def test_the_oracle_needs_a_comparison():
    with pytest.raises(ScenarioError, match="--policy all"):
        build_policy("oracle", {}, replace(CONTEXT, plan=None))
