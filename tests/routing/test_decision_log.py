"""Each decision beside what the other arm would have cost just then."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from des.costs import cost_model, fleet, talk

from ppdsim.des.cluster import run_cluster
from ppdsim.des.recorder import Labels
from ppdsim.routing import AlwaysD, AlwaysP, CostAware, DecisionLog, FleetModel
from ppdsim.routing.decision_log import COLUMNS, write
from ppdsim.types import Transport

MODEL = cost_model()
FLEET = FleetModel(nodes=(MODEL, MODEL), transport=Transport.TCP)
TALKS = [talk(i, 0.02 * i, (200, 40), (60, 40, 0.1), (60, 40, 0.1)) for i in range(4)]


def logged(roles, policy, talks, *, gamma=1.0, **knobs):
    spec = fleet(roles, MODEL, **knobs)
    log = DecisionLog(spec.fleet_model, gamma)
    return run_cluster(spec, talks, policy, log=log, labels=Labels(decisions=log.columns))


def test_an_idle_turn_costs_what_was_predicted():
    """One conversation on one pair: nobody waits, nobody else decodes: one formula."""
    talks = [talk("a", 0.0, (200, 30), (60, 30, 5.0))]
    handed, kept = (logged("P pD", policy, talks) for policy in (AlwaysP(), AlwaysD()))
    for run, arm in ((handed, "p_full"), (kept, "append")):
        assert run.decisions[f"{arm}_ttft_s"][1] == pytest.approx(run.turns["ttft_s"][1], abs=1e-9)
    # The other arm's estimate is the other run's time.
    assert handed.decisions["append_ttft_s"][1] == pytest.approx(kept.turns["ttft_s"][1], abs=1e-9)
    assert kept.decisions["p_full_ttft_s"][1] == pytest.approx(handed.turns["ttft_s"][1], abs=1e-9)
    # The first turn had no choice.
    assert handed.decisions["choice"].tolist() == [False, True]
    assert math.isnan(handed.decisions["append_j_s"][0])


def test_the_hand_off_that_the_fleet_does_not_do_costs_what_it_does_where_it_does():
    talks = [talk("a", 0.0, (200, 30), (60, 30, 5.0))]
    radix = {"disaggregation_decode_enable_radix_cache": True}
    whole, part = logged("P pD", AlwaysP(), talks), logged("P pD", AlwaysP(), talks, **radix)
    assert whole.turns["ttft_s"][1] > part.turns["ttft_s"][1]
    for run, arm, other in ((whole, "p_full", part), (part, "p_delta", whole)):
        assert run.decisions[f"{arm}_ttft_s"][1] == pytest.approx(run.turns["ttft_s"][1], abs=1e-9)
        counterfactual = "p_delta" if arm == "p_full" else "p_full"
        assert run.decisions[f"{counterfactual}_ttft_s"][1] == pytest.approx(other.turns["ttft_s"][1], abs=1e-9)
        assert run.summary()["regret"]["choices"] == 1


def test_an_arm_that_a_node_cannot_take_is_empty():
    talks = [talk("a", 0.0, (200, 30), (60, 30, 5.0))]

    def empty(roles, **knobs):
        log = logged(roles, AlwaysP(), talks, **knobs).decisions
        return {arm for arm in ("append", "p_full", "p_delta") if np.isnan(log[f"{arm}_j_s"][1])}

    assert empty("U") == {"p_full", "p_delta"}
    assert empty("P D") == {"append", "p_delta"}  # D keeps nothing
    assert empty("P D", disaggregation_decode_enable_radix_cache=True) == {"append"}
    assert empty("P pD") == set()


def test_regret_is_what_the_arm_taken_costs_beyond_the_other():
    run = logged("P pD", AlwaysD(), TALKS, gamma=3.0)
    log = run.decisions
    for arm in ("append", "p_full"):
        possible = log["choice"]
        j_s = log[f"{arm}_ttft_s"] + 3.0 * log[f"{arm}_stall_s"]
        assert log[f"{arm}_j_s"][possible] == pytest.approx(j_s[possible])
    expected = (log["append_j_s"] - log["p_full_j_s"])[log["choice"]].clip(min=0.0)
    assert log["regret_s"][log["choice"]] == pytest.approx(expected)
    found = run.summary()["regret"]
    assert (found["decisions"], found["choices"]) == (12, 8)
    assert found["mean_s"] == pytest.approx(expected.sum() / 8)
    assert found["max_s"] == pytest.approx(expected.max())
    assert found["more_expensive"] == (expected > 0).sum() > 0


def test_the_cost_aware_rule_has_no_regret_at_its_own_moment():
    run = logged("P pD", CostAware(fleet=FLEET), TALKS)
    assert run.summary()["regret"]["sum_s"] == 0.0
    assert len({*run.turns["arm"].tolist()}) == 2


def test_a_unified_node_and_a_plain_d_have_no_choice():
    for roles in ("U", "P D"):
        found = logged(roles, AlwaysD(), TALKS).summary()["regret"]
        assert (found["decisions"], found["choices"], found["sum_s"]) == (12, 0, 0.0)


def test_logging_changes_nothing():
    plain = run_cluster(fleet("P pD", MODEL), TALKS, AlwaysD()).turns
    beside = logged("P pD", AlwaysD(), TALKS).turns
    assert plain["t_last_token_s"].tolist() == beside["t_last_token_s"].tolist()


def test_the_file_has_a_row_a_decision_and_empty_cells_for_arms_that_were_none(tmp_path):
    run = logged("P pD", AlwaysD(), TALKS)
    path = tmp_path / "new" / "decisions.csv"
    write(path, [("always-d", run.decisions), ("again", run.decisions)])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["policy", *COLUMNS]
    assert [row["policy"] for row in rows] == ["always-d"] * 12 + ["again"] * 12
    assert (rows[0]["append_j_s"], rows[0]["choice"], rows[0]["arm"]) == ("", "false", "p-full")
    assert float(rows[11]["regret_s"]) == run.decisions["regret_s"][11]
    assert [entry.name for entry in path.parent.iterdir()] == ["decisions.csv"]
