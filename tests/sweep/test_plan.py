"""A plan holds every point with the same seeds, and refuses what could not run before anything does."""

from __future__ import annotations

import pytest
from report.test_page import read
from sweep.cases import SHORT, plan, threads

from ppdsim.errors import InputError
from ppdsim.report.sweep_page import render_sweep
from ppdsim.sweep import words
from ppdsim.sweep.run import run_rows
from ppdsim.sweep.summary import summarise


def test_every_point_has_its_values_in_place() -> None:
    made = plan("transport=tcp,nvlink", "fleet.1.count=1,2", seeds=3, settings=(*SHORT, "seed=7"))
    assert [point.values for point in made.points] == [("tcp", "1"), ("tcp", "2"), ("nvlink", "1"), ("nvlink", "2")]
    assert [(p.scenario.transport.value, p.scenario.fleet[1].count) for p in made.points] == [
        ("tcp", 1),
        ("tcp", 2),
        ("nvlink", 1),
        ("nvlink", 2),
    ]
    assert made.seeds == (7, 8, 9)
    assert made.name_of(made.points[1]) == "transport=tcp, fleet.1.count=2"


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("routing.polcy=always-p", "--grid routing.polcy=always-p: unknown key .*did you mean 'policy'"),
        ("routing.policy=always-p,always-q", "--grid routing.policy=always-q: .*did you mean 'always-p'"),
        ("workload.conversations=3,x", "--grid workload.conversations=x: .*given 'x', expected"),
        ("routing.parameters.threshold=1", "at routing.parameters.threshold=1: .*unknown parameter"),
        ("profile=h300", "at profile=h300: unknown profile 'h300'"),
        (
            "fleet.1.kv_pool_tokens=90000,1000",
            "at fleet.1.kv_pool_tokens=1000: conversation .* KV pool of the fleet holds",
        ),
        ("seed=1,2", "--grid seed=...: a run does not read it; say how many seeds with --seeds"),
        ("crossover.residents=1", "a run does not read it"),
    ],
)
def test_a_wrong_key_or_value_is_said_as_it_was_given(grid, message) -> None:
    with pytest.raises(InputError, match=message):
        plan(grid)


def test_a_wrong_setting_is_not_blamed_on_the_grid() -> None:
    with pytest.raises(InputError, match="^--set transprot=tcp: "):
        plan("fleet.1.count=1,2", settings=("transprot=tcp",))


def test_a_profile_that_nobody_measured_is_noted(tmp_path) -> None:
    measured, derived = plan("transport=nvlink"), plan("profile=h100x2_llama-3.1-8b_sglang-0.5.17_derived")
    assert not any("this machine is unmeasured" in note for note in measured.notes)
    (note,) = (note for note in derived.notes if "this machine is unmeasured" in note)
    answer = summarise(derived, run_rows(derived, tmp_path, threads), "j_s")
    assert f"note: {note}" in words.table(answer)
    assert note in read(render_sweep(answer)).text


def test_no_seed_is_refused() -> None:
    with pytest.raises(InputError, match="--seeds 0"):
        plan(seeds=0)


def test_a_trace_replaces_the_workload_at_every_point(tmp_path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text('{"conversation_id": 1, "turn": 0, "arrival_s": 0.0, "new_tokens": 10, "output_tokens": 4}\n')
    made = plan("transport=tcp,nvlink", settings=(), trace=path)
    assert {point.scenario.workload.file for point in made.points} == {str(path)}
