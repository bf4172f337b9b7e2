"""Policies side by side: the same conversations, and no regret below that of the best plan found."""

from __future__ import annotations

import numpy as np
import pytest

from ppdsim import scenario
from ppdsim.errors import UnknownNameError
from ppdsim.routing import ORACLE, POLICIES
from ppdsim.simulation.compare import compare, expand, table

SMALL = ["workload.conversations=25", "workload.arrivals.rate_per_s=2.0"]


@pytest.fixture(scope="module")
def compared():
    return {each.policy: each for each in compare(scenario.load("one-pair", SMALL), ["all"], seed=1)}


def test_all_are_all_that_are_registered(compared):
    assert set(compared) == set(POLICIES)


def test_arrivals_and_lengths_are_the_same_for_all(compared):
    for column in ("conversation_id", "turn", "input_tokens", "output_tokens"):
        assert len({tuple(each.results.turns[column].tolist()) for each in compared.values()}) == 1
    firsts = {tuple(e.results.turns["t_arrival_s"][e.results.turns["turn"] == 0]) for e in compared.values()}
    assert len(firsts) == 1


def test_regret_is_j_beyond_the_oracle(compared):
    oracle = compared[ORACLE]
    assert oracle.regret_s == 0.0
    for each in compared.values():
        turns = each.results.turns
        assert each.j_s == pytest.approx(float(np.mean(turns["ttft_s"] + turns["resident_stall_s"])))
        assert each.regret_s == pytest.approx(each.j_s - oracle.j_s)
        assert each.regret_s >= 0.0
    assert compared["always-d"].regret_s > compared["cost-aware"].regret_s


def test_the_table_has_every_policy_cheapest_first(compared):
    lines = table(tuple(compared.values())).splitlines()
    assert [line.split()[0] for line in lines[1:-2]] == list(compared)
    regrets = [float(line.split()[2]) for line in lines[1:-2]]
    assert regrets == sorted(regrets)
    assert regrets[0] == 0.0


def test_the_scenario_s_parameters_are_its_own_policy_s_alone():
    loaded = scenario.load("one-pair", [*SMALL, "routing.policy=threshold", "routing.parameters={threshold_tokens: 0}"])
    found = {each.policy: each for each in compare(loaded, ["threshold", "ppd", "always-p"], seed=0)}
    # No append is shorter than nothing.
    assert found["threshold"].j_s == found["always-p"].j_s
    assert set(found) == {"threshold", "ppd", "always-p"}


def test_names_are_expanded_once_and_the_oracle_is_last():
    assert expand(["oracle", "always-p", "all"])[-1] == ORACLE
    assert expand(["always-p", "always-p"]) == ("always-p",)
    with pytest.raises(UnknownNameError, match="did you mean 'always-p'"):
        expand(["alwaysp"])
