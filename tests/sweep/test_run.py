"""Rows are run once, kept as they end, and equal wherever and in whatever order they were computed."""

from __future__ import annotations

import csv
import json

import pytest
from sweep.cases import SHORT, plan, threads

from ppdsim.analytical.replications import mean_interval
from ppdsim.errors import EnvironmentProblem, WorkloadError
from ppdsim.metrics import Scale, describe
from ppdsim.scenario import load
from ppdsim.simulation.run import conversations_of, simulate
from ppdsim.sweep import run as run_module
from ppdsim.sweep import words
from ppdsim.sweep.measures import COLUMNS
from ppdsim.sweep.row import RowTask, run_row
from ppdsim.sweep.run import Interrupted, run_rows, sweep
from ppdsim.sweep.save import read, save
from ppdsim.sweep.summary import summarise


@pytest.fixture
def counted(monkeypatch):
    """Count the rows that are computed."""
    seen = []

    def counting(task):
        seen.append(task.key)
        return run_row(task)

    monkeypatch.setattr(run_module, "run_row", counting)
    return seen


def test_a_row_is_what_the_simulator_says(tmp_path) -> None:
    made = plan()
    rows = run_rows(made, tmp_path, threads)
    assert set(rows) == {(number, seed) for number in range(6) for seed in (0, 1)}
    for number, seed in ((0, 0), (5, 1)):
        results = simulate(made.points[number].scenario, seed=seed)
        summary = results.summary()
        row = rows[number, seed]
        assert tuple(row) == COLUMNS
        assert row["ttft_p99_s"] == summary["ttft_s"]["p99"]
        assert row["itl_max_p50_s"] == describe(results.turns["itl_max_s"])["p50"]
        assert row["j_s"] == pytest.approx((results.turns["ttft_s"] + results.turns["resident_stall_s"]).mean())
        assert (row["ok"], row["label"]) == (summary["status"]["ok"], summary["label"])
        assert row["share_p-full"] == summary["arms"].get("p-full", 0.0)


def test_all_points_have_the_same_arrivals(tmp_path) -> None:
    made = plan("routing.policy=always-p,always-d")
    rows = run_rows(made, tmp_path, threads)
    for seed in made.seeds:
        assert rows[0, seed]["turns"] == rows[1, seed]["turns"]
    assert rows[0, 0]["turns"] != rows[0, 1]["turns"]


def test_a_row_that_is_there_is_not_run_again(tmp_path, counted) -> None:
    first = run_rows(plan("transport=nvlink,tcp"), tmp_path, threads)
    assert len(counted) == 4
    assert run_rows(plan("transport=nvlink,tcp"), tmp_path, threads) == first
    assert len(counted) == 4
    wider = run_rows(plan("transport=tcp,nvlink", "routing.gamma=1.0,2", seeds=3), tmp_path, threads)
    # gamma = 1 is the scenario's own: both transports have two seeds of it.
    assert len(counted) == 12
    assert wider[0, 1] == first[1, 1]


def test_two_texts_of_one_value_share_a_row(tmp_path, counted) -> None:
    rows = run_rows(plan("routing.gamma=1,1.0", seeds=1), tmp_path, threads)
    assert rows[0, 0] is rows[1, 0]
    assert len(counted) == 1


def test_a_damaged_row_is_run_again(tmp_path, counted) -> None:
    made = plan("transport=nvlink", seeds=3)
    rows = run_rows(made, tmp_path, threads)
    files = sorted((tmp_path / "rows").iterdir())
    files[0].write_text(files[0].read_text()[:40])
    files[1].write_text("{}")
    assert run_rows(made, tmp_path, threads) == rows
    assert len(counted) == 5


def test_ctrl_c_keeps_what_has_ended_and_a_second_run_goes_on(tmp_path, counted) -> None:
    made = plan()

    def stop(done: int, total: int) -> None:
        assert total == 12
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        run_rows(made, tmp_path, threads, stop)
    kept = len(stopped.value.rows)
    assert kept >= 3
    assert len(list((tmp_path / "rows").iterdir())) == kept
    before = len(counted)
    rows = run_rows(made, tmp_path, threads)
    assert len(counted) - before == 12 - kept
    assert rows == run_rows(made, tmp_path / "whole", threads)


def test_a_worker_with_other_files_refuses(tmp_path) -> None:
    scenario = plan("transport=tcp").points[0].scenario
    with pytest.raises(EnvironmentProblem, match="a worker's files differ.*simulator.*profile h200x2"):
        run_row(RowTask(scenario=scenario, seed=0, key="0" * 32, point="here"))
    lost = scenario.model_copy(update={"profile": "mine"})
    with pytest.raises(EnvironmentProblem, match="a worker lacks .*unknown profile 'mine'"):
        run_row(RowTask(scenario=lost, seed=0, key="0" * 32, point="here"))


def test_a_seed_whose_workload_does_not_fit_stops_the_sweep_and_keeps_the_rest(tmp_path) -> None:
    """Only the first seed is drawn beforehand; this pool holds its conversations and not those of a later one."""
    scenario = load("one-pair", SHORT)
    needs = [
        max(sum(t.new_tokens + t.output_tokens for t in c.turns) for c in conversations_of(scenario, seed))
        for seed in range(12)
    ]
    margin = 2_000
    first = next(seed for seed in range(11) if needs[seed + 1] > needs[seed] + 2 * margin)
    settings = (*SHORT, f"fleet.1.kv_pool_tokens={needs[first] + margin}", f"seed={first}")
    made = plan("transport=nvlink", seeds=2, settings=settings)
    with pytest.raises(WorkloadError, match=f"at transport=nvlink, seed {first + 1}: .* tokens of KV"):
        run_rows(made, tmp_path, threads)
    assert len(list((tmp_path / "rows").iterdir())) == 1


def test_the_api_writes_a_table_in_the_order_of_the_grid(tmp_path) -> None:
    grid = {"routing.policy": ["always-p", "cost-aware"], "workload.arrivals.rate_per_s": [1, 4]}
    answer = sweep("one-pair", grid, seeds=2, out=tmp_path, settings=SHORT, jobs=2)
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["routing.policy"], r["workload.arrivals.rate_per_s"], r["seed"]) for r in rows] == [
        (policy, rate, seed) for policy in ("always-p", "cost-aware") for rate in "14" for seed in "01"
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows", "sweep.csv", "sweep.json"]
    assert json.loads((tmp_path / "sweep.json").read_text())["scenario"] == "one-pair"
    first = [float(row["j_s"]) for row in rows[:2]]
    assert answer.points[0].estimate("j_s").value == pytest.approx(sum(first) / 2)


def test_a_trace_that_no_seed_changes_runs_once_a_point_and_its_parts_give_the_interval(tmp_path, counted) -> None:
    lines = [
        {"conversation_id": i, "turn": 0, "arrival_s": 0.4 * i, "new_tokens": 60 * (1 + i % 7), "output_tokens": 9}
        for i in range(40)
    ]
    trace = tmp_path / "chat.jsonl"
    trace.write_text("\n".join(map(json.dumps, lines)))
    made = plan("transport=nvlink,tcp", "workload.rate_scale=1,2", seeds=3, settings=(), trace=trace)
    rows = run_rows(made, tmp_path / "out", threads)
    assert len(counted) == 4
    assert [made.seeds_of(number) for number in range(4)] == [(0,)] * 4
    assert rows[2, 0] is rows[2, 2]
    answer = summarise(made, rows, "ttft_mean_s")
    assert (answer.parts, answer.missing) == (10, 0)
    point = answer.points[2]
    found = point.estimate("ttft_mean_s")
    times_s = simulate(made.points[2].scenario, seed=0).turns["ttft_s"]
    expected = mean_interval(times_s.reshape(10, 4).mean(axis=1), scale=Scale.POSITIVE, whole=float(times_s.mean()))
    assert point.runs == 1
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert found.low < found.value < found.high
    assert found.difference.low < found.difference.value < found.difference.high
    # A machine's busy time is that of a whole run.
    busy = point.estimate("busy_prefill")
    assert (busy.value, busy.low, busy.high) == (rows[2, 0]["busy_prefill"], None, None)
    assert "one run per point; intervals (90 %) are over 10 parts of this one trace" in words.table(answer)
    table, _ = save(made, rows, answer, tmp_path)
    assert len(table.read_text().splitlines()) == 1 + 4
    assert read(tmp_path) == answer


def test_a_random_balancer_makes_seeds_of_a_trace_differ(tmp_path) -> None:
    row = {"turn": 0, "new_tokens": 99, "output_tokens": 9}
    lines = [{**row, "conversation_id": i, "arrival_s": 0.1 * i} for i in range(9)]
    trace = tmp_path / "chat.jsonl"
    trace.write_text("\n".join(map(json.dumps, lines)))
    made = plan("routing.decode_policy=random,round_robin", settings=("fleet.1.count=2",), seeds=2, trace=trace)
    assert [point.drawn for point in made.points] == [True, False]
