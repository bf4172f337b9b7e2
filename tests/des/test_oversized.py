"""A turn that no node can hold is found before the run, by the rule that rejects it on arrival."""

from __future__ import annotations

import numpy as np
import pytest
from des.costs import cost_model, fleet, talk
from des.scenes import block_scenes, scenes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppdsim.des.cluster import Cluster, run_cluster
from ppdsim.des.oversized import too_large
from ppdsim.des.turns import Turns
from ppdsim.errors import WorkloadError
from ppdsim.routing import AlwaysP
from ppdsim.scenario import load
from ppdsim.simulation.run import simulate

COMMON = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
HUGE = [
    "workload.conversations=4",
    "workload.first_turn_new_tokens={kind: constant, value_tokens: 119700}",
    "fleet.1.kv_pool_tokens=120000",
]


@COMMON
@given(st.one_of(scenes(), block_scenes()))
def test_what_is_found_is_rejected_and_never_answered(scene):
    spec, conversations, policy = scene
    found = too_large(Cluster(spec, Turns(conversations), policy))
    status = run_cluster(spec, conversations, policy).turns["status"]
    assert not np.any(status[found] == "ok")
    if found:
        with pytest.raises(WorkloadError, match="oversized_turns=reject"):
            run_cluster(spec, conversations, policy, refuse_oversized=True)


def test_the_limit_is_exact():
    """160 pages of 16 tokens hold a prompt of 2048 and its reserve of 512; not one token more."""
    spec = fleet("P D", cost_model(page=16), pool=2_560)
    fits, above = (Cluster(spec, Turns([talk("a", 0.0, (tokens, 8))]), AlwaysP()) for tokens in (2_048, 2_049))
    assert too_large(fits) == []
    assert too_large(above) == [0]


def test_the_whole_conversation_counts():
    spec = fleet("P D", cost_model(page=16), pool=2_560)
    cluster = Cluster(spec, Turns([talk("a", 0.0, (1_000, 40), (1_000, 40, 1.0), (100, 8, 1.0))]), AlwaysP())
    assert too_large(cluster) == [2]


def test_it_is_refused_with_the_numbers():
    with pytest.raises(WorkloadError) as problem:
        simulate(load("one-pair", HUGE), seed=0)
    text = str(problem.value)
    for part in ("conversation 0, turn 0", "a prompt of 119700", "at least 512", "holds 120000 (node 1, pD)"):
        assert part in text
    assert "\n" not in text


def test_it_is_rejected_on_arrival_when_that_is_asked_for():
    results = simulate(load("one-pair", [*HUGE, "oversized_turns=reject"]), seed=0)
    assert set(results.turns["status"]) == {"rejected"}
    assert results.summary()["goodput"]["attainment"] == 0.0
