"""Capacities with a closed form, what binds, and properties of the answer."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from capacity.cases import PROFILE, idle_ttft_s, one_server, service_s
from scipy.optimize import brentq

from ppdsim import library, profile
from ppdsim.capacity import capacity, sentence
from ppdsim.capacity.load import load_of
from ppdsim.capacity.run import coverage
from ppdsim.errors import InputError, WorkloadError
from ppdsim.scenario import Slo, load
from ppdsim.simulation.run import simulate
from ppdsim.units import MS_PER_S

SHARE = 0.9
TURN = '{"conversation_id": %d, "turn": 0, "arrival_s": %f, "new_tokens": %d, "output_tokens": %d}\n'


def test_equal_gaps_carry_the_service_rate_and_the_backlog_that_the_limit_allows(tmp_path: Path) -> None:
    """Request k of n waits k (S - g): the limit on it and the share of the counted ones give the largest rate."""
    service, idle = service_s(), idle_ttft_s(tmp_path)
    slack = 2.0 * service
    scenario = one_server(tmp_path, arrivals="fixed", rate=0.5 / service, conversations=150)
    window = 150 / (0.5 / service)

    def keeps(rate: float) -> bool:
        count = round(rate * window)
        k = np.arange(count)
        counted = k >= (count - 1) / 3.0 - 1e-9
        waits = k * max(service - 1.0 / rate, 0.0)
        return bool(np.mean(waits[counted] <= slack) >= SHARE)

    answer = capacity(
        scenario, seed=0, seeds=1, slo=Slo(ttft_ms=(idle + slack) * MS_PER_S), wanted=SHARE, tolerance=0.001
    )
    assert answer.kind == "rate"
    assert keeps(answer.rate_per_s)
    assert not keeps(answer.seeds[0].high_per_s)
    assert answer.rate_per_s == pytest.approx(1.0 / service, rel=0.01)
    assert answer.binds is not None
    assert (answer.binds.limit, answer.binds.place) == ("ttft_s", "queue for a prefill forward")
    assert (answer.binds.node, answer.binds.role) == (0, "P")


def wait_within(load: float, waits: float) -> float:
    """Return P(W <= waits) of M/D/1 with service 1 (Erlang's series)."""
    terms = (
        (load * (j - waits)) ** j / math.factorial(j) * math.exp(-load * (j - waits)) for j in range(int(waits) + 1)
    )
    return (1.0 - load) * sum(terms)


def test_poisson_arrivals_carry_what_m_d_1_carries(tmp_path: Path) -> None:
    service, idle = service_s(), idle_ttft_s(tmp_path)
    expected = brentq(lambda load: wait_within(load, 2.5) - SHARE, 0.05, 0.95)
    scenario = one_server(tmp_path, arrivals="poisson", rate=0.6 / service, conversations=2_000)
    limit = Slo(ttft_ms=(idle + 2.5 * service) * MS_PER_S)
    answer = capacity(scenario, seed=0, seeds=3, slo=limit, wanted=SHARE)
    assert answer.interval_per_s.low * service <= expected <= answer.interval_per_s.high * service
    assert (answer.interval_per_s.high - answer.interval_per_s.low) * service < 0.15


def test_a_looser_promise_never_carries_less(tmp_path: Path) -> None:
    """Common random numbers: at a given rate the same waits are judged."""
    service, idle = service_s(), idle_ttft_s(tmp_path)
    scenario = one_server(tmp_path, arrivals="poisson", rate=0.6 / service, conversations=200)
    rates = [
        capacity(
            scenario, seed=3, seeds=1, slo=Slo(ttft_ms=(idle + slack * service) * MS_PER_S), wanted=share
        ).rate_per_s
        for slack, share in ((0.5, 0.99), (0.5, 0.9), (2.0, 0.9), (2.0, 0.5))
    ]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]


def test_every_rate_has_the_same_conversations() -> None:
    load_at = load_of(load("one-pair", ["workload.conversations=40"]))
    few, many = (
        list(load_at.scenario_at(rate).build_workload().conversations(np.random.default_rng(5))) for rate in (1.0, 4.0)
    )
    assert (len(few), len(many)) == (40, 160)
    for slow, fast in zip(few, many, strict=False):
        assert slow.turns == fast.turns
        assert slow.arrival_s == pytest.approx(4.0 * fast.arrival_s)


def test_a_trace_is_played_faster(tmp_path: Path) -> None:
    """Prompts of 3000 tokens, one a forward, and answers of one token make a unified node a server of constant time."""
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(TURN % (i, 2.0 * i, 3000, 1) for i in range(60)))
    scenario = load("one-unified", ["max_prefill_tokens=1"], trace=path)
    load_at = load_of(scenario)
    assert load_at.own_rate_per_s == pytest.approx(0.5)
    starts = [c.arrival_s for c in load_at.scenario_at(5.0).build_workload().conversations(np.random.default_rng(0))]
    assert np.diff(starts) == pytest.approx(0.2)
    service = service_s()
    idle = float(simulate(load_at.scenario_at(0.5), seed=0).turns["ttft_s"][0])
    slack = 3.5 * service

    def keeps(rate: float) -> bool:
        k = np.arange(60)
        waits = k * max(service - 1.0 / rate, 0.0)
        return bool(np.mean(waits[20:] <= slack) >= 0.95)

    answer = capacity(
        scenario, seed=0, seeds=2, slo=Slo(ttft_ms=(idle + slack) * MS_PER_S), wanted=0.95, tolerance=0.001
    )
    assert keeps(answer.rate_per_s)
    assert not keeps(answer.seeds[0].high_per_s)
    # 38 of the 40 counted ones keep the limit, so the 58th is the last that may wait for as long.
    assert answer.rate_per_s == pytest.approx(1.0 / (service - slack / 57), rel=0.001)
    assert any("no seed changes this run" in note for note in answer.notes)
    interval = answer.interval_per_s
    assert (interval.over, interval.coverage) == ("bracket", None)
    assert (interval.low, interval.high) == (answer.seeds[0].low_per_s, answer.seeds[0].high_per_s)
    assert "(bracket of the search with one seed: " in answer.answer[0]


def test_nothing_and_everything_keep_the_slo_in_bounded_time(tmp_path: Path) -> None:
    scenario = load("one-pair", ["workload.conversations=30"])
    never = capacity(scenario, seed=0, seeds=1, slo=Slo(ttft_ms=1.0))
    assert (never.kind, never.rate_per_s) == ("none", 0.0)
    assert len(never.seeds[0].runs) <= 12
    assert sentence(never).startswith("NO RATE keeps")
    assert "exceed the TTFT limit, mostly because of: prefill forwards of node 0 (P)" in sentence(never)
    endless = one_server(tmp_path, arrivals="fixed", rate=0.001, conversations=3)
    always = capacity(endless, seed=0, seeds=1, slo=Slo(tpot_ms=1e6))
    assert (always.kind, always.rate_per_s) == ("at least", pytest.approx(1.024))
    assert len(always.seeds[0].runs) == 11
    assert "Every rate that was tried keeps the SLO." in sentence(always)
    assert always.interval_per_s.high is None


def test_the_document_says_where_it_comes_from() -> None:
    scenario = load("one-pair", ["workload.conversations=60"])
    answer = capacity(scenario, seed=7, seeds=3)
    found = asdict(answer)
    assert [seed["seed"] for seed in found["seeds"]] == [7, 8, 9]
    assert found["interval_per_s"]["low"] <= found["rate_per_s"] <= found["interval_per_s"]["high"]
    assert found["interval_per_s"]["coverage"] == 0.75
    assert found["rate_per_gpu_per_s"] == found["rate_per_s"] / 2
    assert found["goodput_per_s"] <= found["turns_per_s"]
    assert found["provenance"]["scenario"] == "one-pair"
    assert found["provenance"]["profiles"] == ["h200x2_llama-3.1-8b_sglang-0.5.17"]
    for seed in found["seeds"]:
        assert all(run["kept"] for run in seed["runs"] if run["rate_per_s"] <= seed["low_per_s"])
        assert not any(run["kept"] for run in seed["runs"] if run["rate_per_s"] == seed["high_per_s"])
    # The run at the answer is the run that simulate makes of that load.
    middle = next(seed for seed in answer.seeds if seed.low_per_s == answer.rate_per_s)
    again = simulate(load_of(scenario).scenario_at(answer.rate_per_s), seed=middle.seed)
    run = middle.run_at(answer.rate_per_s)
    assert (len(again), again.summary()["label"]) == (run.turns, run.label)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wanted": 0.0}, "--attained 0.0"),
        ({"wanted": 1.5}, "--attained 1.5"),
        ({"seeds": 0}, "--seeds 0"),
        ({"tolerance": 0.0}, "--tolerance 0.0"),
        ({"slo": Slo()}, "has no slo"),
    ],
)
def test_what_cannot_be_asked_is_refused(change, message) -> None:
    with pytest.raises(InputError, match=message):
        capacity(load("one-pair", []), **{"seed": 0, "seeds": 1, **change})


def test_a_trace_without_a_rate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "burst.jsonl"
    path.write_text("".join(TURN % (i, 1.0, 100, 8) for i in range(3)))
    with pytest.raises(WorkloadError, match="its conversations all arrive at once"):
        capacity(load("one-pair", trace=path), seed=0)


def test_a_server_over_several_gpus_counts_each_of_them(tmp_path: Path) -> None:
    scenario = one_server(tmp_path, arrivals="fixed", rate=0.5 / service_s(), conversations=10)
    measured = profile.load(library.find("profile", PROFILE))
    wide = tmp_path / "wide.json"
    profile.save(measured.model_copy(update={"tensor_parallel_size": 4}), wide)
    group = scenario.fleet[0].model_copy(update={"profile": str(wide)})
    mixed = scenario.model_copy(update={"fleet": (group, *scenario.fleet[1:])})
    limit = Slo(ttft_ms=60_000)
    one, four = (capacity(each, seed=0, seeds=1, slo=limit, tolerance=1.0) for each in (scenario, mixed))
    assert (one.gpus, four.gpus) == (2, 5)
    assert four.rate_per_s == one.rate_per_s
    assert four.rate_per_gpu_per_s * 5 == pytest.approx(four.rate_per_s)
    assert four.goodput_per_gpu_per_s * 5 == pytest.approx(four.goodput_per_s)
    assert "per GPU (5 GPUs)" in " ".join(four.answer)


@pytest.mark.parametrize("count", [2, 5, 9])
def test_the_interval_over_seeds_holds_the_median_capacity_as_often_as_it_says(count: int) -> None:
    """From the smallest to the largest of n draws, whatever the distribution: here an exponential one."""
    draws = np.random.default_rng(count).exponential(1.0, (20_000, count))
    held = (draws.min(axis=1) <= np.log(2.0)) & (np.log(2.0) <= draws.max(axis=1))
    assert coverage(count) == pytest.approx(held.mean(), abs=0.01)
    assert coverage(1) is None
