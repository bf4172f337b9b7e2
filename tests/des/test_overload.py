"""An overloaded run ends in bounded time and counts what it leaves; no other run is cut."""

from __future__ import annotations

import numpy as np
import pytest
from des.costs import cost_model, fleet, talk

from ppdsim.cli.app import run
from ppdsim.des.cluster import Cluster, run_cluster
from ppdsim.des.overload import LEAST_SENT
from ppdsim.des.turns import Turns
from ppdsim.routing import AlwaysD
from ppdsim.scenario import load
from ppdsim.simulation.run import simulate

PROMPT_TOKENS = 4_000
MODEL = cost_model(chunk=4_096, prefill={"kv_read_s_per_token": 0.0, "attention_s_per_token2": 0.0})
SERVICE_S = 2.0**-7 + PROMPT_TOKENS * 2.0**-14  # of one prompt alone in a forward
TURNS = 24_000


def requests(times_s: float, *, count: int = TURNS):
    """Return one-turn requests, `times_s` services apart."""
    return [talk(i, i * times_s * SERVICE_S, (PROMPT_TOKENS, 1)) for i in range(count)]


def spec(**knobs):
    return fleet("U", MODEL, pool=2**20, max_prefill_tokens=1, stop_when_overloaded=True, **knobs)


def test_ten_times_the_load_ends_early_and_counts_what_is_left():
    results = run_cluster(spec(), requests(0.1), AlwaysD())
    summary = results.summary()
    assert summary["label"] == "OVERLOADED"
    status, arrival = results.turns["status"], results.turns["t_arrival_s"]
    unfinished = status == "unfinished"
    assert summary["status"] == {"ok": int((status == "ok").sum()), "rejected": 0, "timed_out": 0,
                                 "unfinished": int(unfinished.sum())}  # fmt: skip
    sent = ~np.isnan(arrival)
    waiting = sent & np.isnan(results.turns["t_first_token_s"])
    assert sent.sum() < TURNS
    assert waiting.sum() > 0.8 * sent.sum()
    (note,) = (note for note in results.notes if note.startswith("stopped at"))
    assert f"{waiting.sum()} of {sent.sum()} turns sent" in note
    assert f"{TURNS - sent.sum()} were never sent" in note
    # What was sent and has no end misses the SLO; what was never sent was not offered.
    assert summary["goodput"]["attainment"] == pytest.approx((status == "ok").sum() / sent.sum())


def test_the_work_is_bounded_by_the_first_look_that_finds_it_hopeless():
    few, many = (Cluster(spec(), Turns(requests(0.1, count=count)), AlwaysD()) for count in (20_000, 80_000))
    for cluster in (few, many):
        cluster.run()
    assert few.overload is not None
    assert many.overload is not None
    assert many.clock.events == few.clock.events
    assert few.overload.sent <= 2 * LEAST_SENT


@pytest.mark.parametrize("times", [1.1, 0.8])
def test_a_load_that_is_served_or_nearly_so_runs_to_its_end(times):
    results = run_cluster(spec(), requests(times, count=12_000), AlwaysD())
    assert (results.turns["status"] == "ok").all()
    assert results.notes == ()


def test_a_burst_is_no_overload_to_stop_for():
    results = run_cluster(spec(), requests(0.0, count=12_000), AlwaysD())
    assert (results.turns["status"] == "ok").all()


def test_the_switch_runs_an_overload_to_its_end():
    knobs = {"max_prefill_tokens": 1, "stop_when_overloaded": False}
    results = run_cluster(fleet("U", MODEL, **knobs), requests(0.1, count=18_000), AlwaysD())
    assert (results.turns["status"] == "ok").all()
    assert results.summary()["label"] == "OVERLOADED"


def test_a_shipped_scenario_at_ten_times_its_load(tmp_path, capsys):
    ten_times = ["workload.arrivals.rate_per_s=15", "workload.conversations=10000"]
    results = simulate(load("one-pair", ten_times), seed=0)
    assert results.summary()["label"] == "OVERLOADED"
    assert (results.turns["status"] == "unfinished").sum() > 0.8 * len(results)
    few = ["--set", "workload.arrivals.rate_per_s=15", "--set", "workload.conversations=1000"]
    assert run(["simulate", "one-pair", *few, "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("OVERLOADED: ")
