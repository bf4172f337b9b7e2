"""A router's rule against the cheaper arm: a constant is wrong over whole ranges, the cost-aware rule nowhere far."""

from __future__ import annotations

import re

from crossover_cases import against, small_answer


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
