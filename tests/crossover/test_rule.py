"""A router's rule against the cheaper arm: a constant is wrong over whole ranges, the cost-aware rule nowhere far."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from crossover_cases import against, plan, small_answer

from ppdsim.crossover.arms import choice_of
from ppdsim.crossover.rule import D, IdlePair, P, _regrets_s, _sentence, rule_findings
from ppdsim.types import Arm, Transport


def over_nvlink(*settings: str) -> tuple[int, int, float]:
    """Return (more expensive, looked at, worst ms) of the rule's sentence over NVLink."""
    text = next(t for t in small_answer("crossover.draws=1", *against("nvlink"), *settings).findings if "NVLink" in t)
    found = re.fullmatch(
        r"Over NVLink, the policy '[\w-]+' takes the more expensive arm at (\d+) of the (\d+) cache rates"
        r"(?:; that costs up to (\d+) ms of J)?\.",
        text,
    )
    assert found
    return int(found[1]), int(found[2]), float(found[3] or 0)


def test_always_d_is_wrong_below_the_crossing_and_always_p_above():
    wrong_d, rates, worst_d = over_nvlink("routing.policy=always-d")
    wrong_p, same, worst_p = over_nvlink("routing.policy=always-p")
    assert rates == same
    # Each rate is cheaper on one side or the other.
    assert wrong_d + wrong_p == rates
    # At r = 0.2, 6.5k tokens appended before four streams: hundreds of ms. Beyond the crossing a hand-off costs ~20.
    assert worst_d > 100 > worst_p > 0


def test_a_threshold_is_wrong_between_itself_and_the_crossing():
    wrong, rates, worst = over_nvlink("routing.policy=threshold", "routing.parameters={threshold_tokens: 2048}")
    assert 0 < wrong < rates
    assert worst > 10


def test_the_cost_aware_rule_is_never_far_off():
    wrong, rates, worst = over_nvlink("routing.policy=cost-aware")
    # Its waits and the formula's differ by less than a step of 7 ms; near the crossing both arms cost the same.
    assert wrong <= rates // 3
    assert worst < 7.0


def test_a_rule_sees_residents_and_turns_on_d_only_and_nobody_waiting():
    view = IdlePair(plan(), plan().comparisons[0], 4096)
    grid = plan().grid
    assert grid.residents
    assert grid.turn_rate_per_s
    assert (view.streams(P), view.streams(D)) == (0, grid.residents)
    assert (view.context_tokens(P), view.context_tokens(D)) == (0, grid.residents * grid.resident_context_tokens)
    assert (view.turns_per_s(P), view.turns_per_s(D)) == (0.0, grid.turn_rate_per_s)
    assert {view.waiting_tokens(P), view.waiting_tokens(D), view.wait_s(P), view.wait_s(D)} == {0}
    assert view.link_wait_s(P, D, 0.1) == 0.0


def test_every_link_has_its_sentence_at_the_first_previous_answer():
    first = plan().comparisons[0]
    later, tcp = replace(first, previous_output_tokens=512), replace(first, transport=Transport.TCP)
    asked = plan().grid.model_copy(update={"previous_output_tokens": (0, 512)})
    both = replace(plan(), grid=asked, comparisons=(first, later, tcp))
    over = [text.partition("over ")[2] for text in rule_findings(both, [])]
    assert len(over) == 2
    assert over[0].startswith("NVLink")
    assert over[1].startswith("TCP")


def test_a_regret_is_against_the_append_of_the_same_prompt():
    first = plan().comparisons[0]

    def curve(comparison, total_tokens, *j_s):
        return SimpleNamespace(
            arm=choice_of(comparison), total_tokens=total_tokens, cached_tokens=(1024, 2048, 3072), j_s=j_s
        )

    nan = float("nan")
    handoff = curve(first, 4096, 2.0, 2.0, nan)
    curves = [curve(None, 8192, 9.0, 9.0, 9.0), curve(None, 4096, 3.0, 1.0, 1.0), handoff]
    for arm, expected in ((Arm.APPEND_D, [1.0, 0.0, nan]), (Arm.P_FULL, [0.0, 1.0, float("inf")])):
        policy = SimpleNamespace(decide=lambda request, view, arm=arm: SimpleNamespace(arm=arm))
        np.testing.assert_array_equal(_regrets_s(plan(), policy, first, handoff, curves), expected)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("regrets_s", "said"),
    [
        ([0.0, 0.0], "takes the more expensive arm at 0 of the 2 cache rates."),
        ([0.0, 0.25, 1.5], "takes the more expensive arm at 2 of the 3 cache rates; that costs up to 1500 ms of J."),
        (
            [0.25, NAN],
            "takes the more expensive arm at 1 of the 1 cache rates at which neither arm is OVERLOADED; that costs up "
            "to 250 ms of J.",
        ),
        (
            [0.0, INF, INF],
            "takes the more expensive arm at 0 of the 1 cache rates at which neither arm is OVERLOADED; at 2 others it "
            "takes an arm that is OVERLOADED.",
        ),
    ],
)
def test_the_sentence_of_a_rule_counts_its_regrets(regrets_s, said):
    assert _sentence("always-p", "TCP", np.array(regrets_s)) == f"Over TCP, the policy 'always-p' {said}"


@pytest.mark.parametrize("regrets_s", [[], [NAN, NAN]])
def test_a_rule_without_a_comparison_is_not_judged(regrets_s):
    assert _sentence("always-p", "TCP", np.array(regrets_s)) == (
        "The policy 'always-p' was not judged over TCP: at every cache rate one of the arms is OVERLOADED."
    )
