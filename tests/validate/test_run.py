"""The shipped profiles against the committed runs: what is compared with what, and that errors are what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ppdsim import measurements, profile
from ppdsim.accuracy import ANCHORED, ANOTHER_RUN, HELD_OUT, LEFT_OUT
from ppdsim.errors import InputError
from ppdsim.fit.cells import grid
from ppdsim.report.figures._loads import load_choices, rows_of
from ppdsim.result_files import to_json
from ppdsim.validate import to_text, validate
from ppdsim.validate.decisions import BATCHES, GAMMAS
from ppdsim.validate.gates import gates, pooled_coverage
from ppdsim.validate.n_star import solve
from ppdsim.validate.stalls import measured_stalls

ONE, TWO = "h200x1_llama-3.1-8b_sglang-0.5.17", "h200x2_llama-3.1-8b_sglang-0.5.17"


@pytest.fixture(scope="module")
def runs(repository):
    return {name: measurements.read(repository / "calibration/measurements" / name) for name in (ONE, TWO)}


@pytest.fixture(scope="module")
def own(repository, runs):
    """The profile of the live run against both runs."""
    return validate(profile.load(repository / "calibration/profiles" / f"{ONE}.json"), list(runs.values()))


@pytest.fixture(scope="module")
def other(repository, runs):
    """The shipped profile against the live run alone."""
    return validate(profile.load(repository / "calibration/profiles" / f"{TWO}.json"), [runs[ONE]])


def row(found, kind, scope):
    return next(r for r in found.cells if (r.kind, r.scope) == (kind, scope))


def test_own_cells_are_left_out_or_held_out_and_the_rest_is_another_run(own, other):
    assert {r.scope for r in own.cells if r.measurements == ONE} == {LEFT_OUT, HELD_OUT}
    assert {r.scope for r in own.cells if r.measurements == TWO} == {ANOTHER_RUN}  # it has no probes
    assert {r.scope for r in other.cells} == {ANOTHER_RUN, ANCHORED}


def test_held_out_cells_are_those_of_the_plan(own, runs):
    held = grid(runs[ONE], "validation")
    assert row(own, "append-d", HELD_OUT).cells == len(held.append) == 9
    fitted = {(p.cached_tokens, p.new_tokens) for p in row(own, "append-d", LEFT_OUT).points}
    assert not fitted & {(p.cached_tokens, p.new_tokens) for p in row(own, "append-d", HELD_OUT).points}


def test_errors_are_those_of_the_points(own):
    for r in own.cells:
        size = np.abs([p.predicted_s / p.measured_s - 1 for p in r.points])
        assert r.median == pytest.approx(np.median(size))
        assert r.maximum == pytest.approx(size.max())
        assert r.coverage == pytest.approx(np.mean([p.inside for p in r.points]))


def test_another_run_includes_its_held_out_cells(own, other):
    assert row(other, "append-d", ANOTHER_RUN).cells == (
        row(own, "append-d", LEFT_OUT).cells + row(own, "append-d", HELD_OUT).cells
    )


def test_decisions_look_at_every_price_and_batch(own):
    for d in own.decisions:
        assert d.right_decided <= d.decided <= d.compared
        if d.first == "append-d":
            assert d.compared % (len(GAMMAS) * len(BATCHES)) == 0
    assert {(d.first, d.second) for d in own.decisions if d.measurements == ONE} == {
        ("append-d", "p-delta:tcp"),
        ("append-d", "p-full:tcp"),
        ("p-delta:tcp", "p-full:tcp"),
    }


def test_the_measured_n_star_solves_the_measured_j(runs):
    cells = grid(runs[TWO])
    stalls = measured_stalls(runs[TWO])
    nvlink = cells.handoffs[1]
    i, j = (int(np.flatnonzero((c.cached_tokens == 16_384) & (c.new_tokens == 256))[0]) for c in (cells.append, nvlink))
    streams = solve(stalls, nvlink.seconds[j] - cells.append.seconds[i], 16_384, 256)
    lost = stalls.append_s(16_384, 256, streams)
    assert streams * lost == pytest.approx(nvlink.seconds[j] - cells.append.seconds[i])


def test_a_run_that_the_profile_knows_no_hand_off_of_is_compared_without_it(own):
    assert any("p-full:nvlink not compared" in note for note in own.notes)
    assert not any(r.kind == "p-full:nvlink" for r in own.cells)


def test_a_median_over_the_limit_and_a_wrong_coverage_fail(own):
    assert not own.failed
    strict = gates(own.cells, own.decisions, own.loads, own.leaked, 0.05)
    failed = {gate.name for gate in strict if gate.required and not gate.passed}
    assert any("p-full:tcp, another run" in name and "median" in name for name in failed)
    assert any("coverage across runs" in name for name in failed)
    loose = gates(own.cells, (), (), (), 1.0)
    assert not any("median" in gate.name for gate in loose if gate.required and not gate.passed)


def test_one_kind_misses_coverage_only_beyond_chance(own):
    r = replace(row(own, "append-d", LEFT_OUT), coverage=0.75, cells=4, coverage_p=0.344)
    assert all(gate.passed for gate in gates([r], (), (), (), None) if "binomial" in gate.name)
    assert pooled_coverage([r, replace(r, coverage=1.0, cells=12)]) == pytest.approx(15 / 16)


def test_the_card_says_every_kind_and_every_missed_gate(own):
    text = to_text(own)
    for r in own.cells:
        assert f"{100 * r.median:.1f}" in text
    for gate in own.gates:
        assert (gate.name in text) == (not gate.passed)
    assert to_json(own).startswith(b"{")


def test_loads_of_two_runs_with_one_name_stay_apart(own):
    """Runs call their loads light, middle and heavy alike: nothing may pour them into one."""
    again = tuple(replace(r, measurements="elsewhere") for r in own.loads)
    both = replace(own, loads=(*own.loads, *again), rankings=())
    lines, alone = to_text(both).splitlines(), to_text(replace(own, rankings=())).splitlines()
    at = lines.index("  elsewhere")
    here = [line for line in lines[:at] if " turns  p50 " in line]
    there = [line for line in lines[at:] if " turns  p50 " in line]
    assert here == there == [line for line in alone if " turns  p50 " in line]
    assert sum(line.startswith("  light, append-d, ") for line in lines[:at]) == 2  # with and without its own floor
    classes = [row.turn_class for row in rows_of(both, 0, "ttft")]
    assert classes == ["turn 1", "later turns"]
    options = [text for _, text in load_choices(both, 0, "ttft")[0]["options"]]
    assert len(options) == len(set(options)) == 2 * len(load_choices(own, 0, "ttft")[0]["options"])
    names = [gate.name for gate in gates((), (), both.loads, (), None)]
    assert len(names) == len(set(names))


def test_a_high_percentile_of_few_rows_is_marked_and_one_of_enough_is_not(own):
    """With nine cells the 90th percentile lies between the two largest ones, so it says no more than they do."""
    held, left = row(own, "append-d", HELD_OUT), row(own, "append-d", LEFT_OUT)
    second, largest = sorted(abs(p.predicted_s / p.measured_s - 1.0) for p in held.points)[-2:]
    assert held.cells == 9
    assert second <= held.p90 <= largest == pytest.approx(held.maximum)
    lines = to_text(own).splitlines()
    assert any(f"({100 * held.p90:.1f})" in line for line in lines if line.startswith("  append-d       held-out"))
    assert any(f" {100 * left.p90:.1f} " in line for line in lines if line.startswith("  append-d       leave-one-out"))
    assert any("fewer than 10 cells" in line for line in lines)
    for turns, marks in ((9, 2), (10, 1), (99, 1), (100, 0)):
        text = to_text(replace(own, loads=(replace(own.loads[0], turns=turns),)))
        (line,) = (each for each in text.splitlines() if f"{turns:>5} turns" in each)
        assert [f"(p{share})" in line for share in (90, 99)].count(True) == marks
    found = {gate.name: gate.found for gate in gates([held, left], (), (), (), None) if gate.name.startswith("target")}
    assert [" of 9 cells" in words for words in found.values()] == [True, False]


def test_a_profile_of_another_gpu_than_the_runs_is_noted(own, repository, runs):
    assert not any("used on another GPU" in note for note in own.notes)
    h100 = measurements.read(repository / "calibration/measurements/h100x2_llama-3.1-8b_sglang-0.5.17_pair")
    mine = profile.load(repository / "calibration/profiles" / f"{TWO}.json")
    (note,) = (note for note in validate(mine, [replace(h100, load=())]).notes if "used on another GPU" in note)
    assert "ran on NVIDIA H100 80GB HBM3, the profile is of NVIDIA H200" in note


def test_a_run_of_another_model_or_given_twice_is_refused(repository, runs):
    mine = profile.load(repository / "calibration/profiles" / f"{ONE}.json")
    with pytest.raises(InputError, match="given twice"):
        validate(mine, [runs[ONE], runs[ONE]])
    wide = mine.model_copy(update={"model": mine.model.model_copy(update={"layers": 80})})
    with pytest.raises(InputError, match="expected the same shape"):
        validate(wide, [runs[ONE]])
