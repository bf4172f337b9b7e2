from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ppdsim.workload.arrivals import Poisson
from ppdsim.workload.conversations import GeneratedWorkload
from ppdsim.workload.lengths import Constant, Exponential, Uniform

CHAT = GeneratedWorkload(
    count=4_000,
    arrivals=Poisson(rate_per_s=2.0),
    turns_mean=5.0,
    first_turn_new_tokens=Constant(value=2_000),
    later_turn_new_tokens=Uniform(low=100, high=300),
    output_tokens=Uniform(low=50, high=150),
    think_time=Exponential(mean=6.0),
)


def drawn(workload: GeneratedWorkload):
    return list(workload.conversations(np.random.default_rng(3)))


def test_counts_and_means() -> None:
    found = drawn(CHAT)
    turns = [turn for conversation in found for turn in conversation.turns]
    later = [turn for conversation in found for turn in conversation.turns[1:]]
    assert len(found) == 4_000
    # The standard error of the mean of 4,000 geometric counts with mean 5 is sqrt(20 / 4000) = 0.07.
    assert len(turns) / len(found) == pytest.approx(5.0, abs=0.28)
    assert {conversation.turns[0].new_tokens for conversation in found} == {2_000}
    assert np.mean([turn.new_tokens for turn in later]) == pytest.approx(200, rel=0.02)
    assert np.mean([turn.think_s for turn in later]) == pytest.approx(6.0, rel=0.04)
    assert found[-1].arrival_s == pytest.approx(2_000, rel=0.07)


def test_another_think_time_changes_nothing_else() -> None:
    slow = drawn(replace(CHAT, count=100, think_time=Constant(value=60.0)))
    quick = drawn(replace(CHAT, count=100, think_time=Constant(value=0.0)))
    for a, b in zip(slow, quick, strict=True):
        assert a.arrival_s == b.arrival_s
        assert [(t.new_tokens, t.output_tokens) for t in a.turns] == [(t.new_tokens, t.output_tokens) for t in b.turns]


def test_one_turn_each_when_the_mean_is_one() -> None:
    assert all(len(conversation.turns) == 1 for conversation in drawn(replace(CHAT, turns_mean=1.0)))
