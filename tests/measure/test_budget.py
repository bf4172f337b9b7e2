"""A spent budget ends repeats, never a cell's first measurement; what has fewer repeats is named."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
from measure.standins import DELTA_TCP, FULL_NVLINK, MACHINE, UNIFIED, service
from virtual_loop import run_virtually

from ppdsim.measure.budget import Budget
from ppdsim.measure.calibrate import measure
from ppdsim.measure.cells import DecodeCell
from ppdsim.measure.journal import read_rows
from ppdsim.measure.plan import load_plan

PLAN = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0, 1024], new_tokens: [64, 256, 1024]}
handoff: {cached_tokens: [0, 1024], new_tokens: [64, 1024]}
decode: {batch: [1, 4], prompt_tokens: [512]}
repeats: {least: 3, most: 3, half_width: 0.02}
"""
CELLS = {"append-d none": 6 + 2, "p-delta tcp": 8, "p-full nvlink": 4}


def run(folder, tmp_path, *, passes=2, resume=False, spoil=None, **keys):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN + f"passes: {passes}\n" + "".join(f"{key}: {value}\n" for key, value in keys.items()))
    lines: list[str] = []
    services = [
        service(*UNIFIED, spoil=spoil),
        service(*DELTA_TCP, decode_radix=True, spoil=spoil),
        service(*FULL_NVLINK, spoil=spoil),
    ]
    session = measure(
        load_plan(str(path)), services, MACHINE, folder, resume=resume, show_line=lines.append, runner=run_virtually
    )
    return session, lines


def rows_by_cell(folder):
    return Counter(row.cell for row in read_rows(folder) if row.purpose != "probe")


def notes(folder):
    return [note for note in json.loads((folder / "manifest.json").read_text())["notes"] if "repeats of" in note]


@pytest.mark.parametrize("passes", [1, 2])
def test_a_spent_budget_leaves_every_cell_with_one_row(tmp_path, passes):
    session, lines = run(tmp_path / "run", tmp_path, passes=passes, budget_s=0.001)
    assert set(rows_by_cell(tmp_path / "run").values()) == {1}
    assert len(rows_by_cell(tmp_path / "run")) == sum(CELLS.values())
    assert session.budget.spent_s > 0.001
    for name, cells in CELLS.items():
        (line,) = [line for line in lines if line.startswith(f"repeats of {name}: ")]
        assert f"fewer than plan 'tiny' asks for in {cells} cells, its budget of 0.001 s was spent" in line
    assert any("fit/prefill/append-d/1024/256" in line for line in lines)
    assert len(notes(tmp_path / "run")) == 3


def test_no_server_is_started_for_repeats_that_the_budget_does_not_allow(tmp_path):
    opened = []
    run(tmp_path / "run", tmp_path, spoil=opened.append, budget_s=0.001)
    assert len(opened) == 3
    opened.clear()
    run(tmp_path / "all", tmp_path, spoil=opened.append)
    assert len(opened) == 5


def test_without_a_budget_every_cell_is_repeated_and_nothing_is_said(tmp_path):
    session, lines = run(tmp_path / "run", tmp_path)
    assert set(rows_by_cell(tmp_path / "run").values()) == {3}
    assert not session.fewer
    assert not any("repeats of" in line for line in lines)


def test_a_budget_is_kept_and_shared_between_services(tmp_path):
    once, _ = run(tmp_path / "once", tmp_path, budget_s=0.001)
    twice, _ = run(tmp_path / "all", tmp_path)
    budget_s = 0.5 * (once.budget.spent_s + twice.budget.spent_s)
    session, _ = run(tmp_path / "run", tmp_path, budget_s=budget_s)
    assert once.budget.spent_s < session.budget.spent_s < budget_s + 2.0
    found = rows_by_cell(tmp_path / "run")
    assert len(found) == sum(CELLS.values())
    for part in ("/decode/", "p-delta:tcp", "p-full:nvlink"):
        assert any(count > 1 for cell, count in found.items() if part in cell), part
    assert any(count < 3 for count in found.values())


def test_resuming_has_a_new_budget_and_takes_the_note_back(tmp_path):
    run(tmp_path / "run", tmp_path, budget_s=0.001)
    session, _ = run(tmp_path / "run", tmp_path, budget_s=10_000.0, resume=True)
    assert set(rows_by_cell(tmp_path / "run").values()) == {3}
    assert not session.fewer
    assert not notes(tmp_path / "run")


def test_what_is_left_is_shared_by_what_the_missing_rows_cost():
    short, long, new = (DecodeCell(batch=batch, prompt_tokens=512) for batch in (1, 32, 64))
    budget = Budget(100.0, spent_s=40.0, costs_s={short.key: 1.0, long.key: 3.0})
    assert budget.share_s([[long], [short]]) == pytest.approx(45.0)
    assert budget.share_s([[short], [long], []]) == pytest.approx(15.0)
    # Nobody knows what the new one costs: the mean of the others.
    assert budget.share_s([[new], [short, long]]) == pytest.approx(20.0)
    assert budget.share_s([[], [long]]) == 0.0
    budget.spent_s = 140.0
    assert budget.share_s([[long]]) == 0.0
    assert Budget(60.0).share_s([[new], [long]]) == pytest.approx(30.0)
    assert Budget(None).share_s([[new]]) == math.inf
