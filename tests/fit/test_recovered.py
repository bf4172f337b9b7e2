"""What the command says that shows recovery through sockets, without the sockets."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from measure.standins import MACHINE, SHIPPED, UNIFIED, service
from recovered import RecoveredCell, recovered
from virtual_loop import run_virtually

from ppdsim import compose, measurements
from ppdsim.measure.calibrate import measure
from ppdsim.measure.journal import POINTS
from ppdsim.measure.plan import load_plan

DRIVEN = compose.central(SHIPPED)
SCALE = 3.0
PLAN = """\
schema: ppdsim/plan/1
name: tiny
append: {cached_tokens: [0, 1024], new_tokens: [64, 1024]}
decode: {batch: [1, 4], prompt_tokens: [512]}
stall: {batch: [4], prompt_tokens: 512, turns: [[1024, 256]]}
validation: {prefill: [[1024, 600]]}
repeats: {least: 1, most: 1, half_width: 0.02}
"""


@pytest.fixture(scope="module")
def command():
    path = Path(__file__).parents[2] / "benchmarks" / "recovery_through_sockets.py"
    spec = importlib.util.spec_from_file_location("recovery_through_sockets", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("scaled")
    (path / "tiny.yaml").write_text(PLAN)
    measure(
        load_plan(str(path / "tiny.yaml")),
        [service(*UNIFIED)],
        MACHINE,
        path / "run",
        resume=False,
        show_line=lambda _: None,
        runner=run_virtually,
    )
    return path / "run"


def test_every_cell_is_compared_once_and_in_kind(folder):
    cells = recovered(measurements.read(folder), driven=DRIVEN, fitted=DRIVEN)
    assert len(cells) == 4 + 2 + 1 + 1
    assert {cell.cell.split("/")[1] for cell in cells} == {"prefill", "decode", "interference"}
    for cell in cells:
        assert cell.measured_error == pytest.approx(0.0, abs=1e-3)
        assert cell.fitted_error == 0.0


def test_a_fit_that_missed_a_cell_shows_by_how_much(folder):
    slow = replace(DRIVEN, prefill=replace(DRIVEN.prefill, floor_s=DRIVEN.prefill.floor_s + 0.002))
    cells = {c.cell: c for c in recovered(measurements.read(folder), driven=DRIVEN, fitted=slow)}
    small, large = cells["fit/prefill/append-d/0/64"], cells["fit/decode/4/512"]
    assert small.fitted_error == pytest.approx(0.002 / small.driven_s, rel=0.1)
    assert large.fitted_error == 0.0


def test_rows_of_slow_servers_are_brought_back_to_the_profiles_time(command, folder, tmp_path):
    slowed = tmp_path / "run"
    slowed.mkdir()
    rows = [command.in_own_time(row, 1.0 / SCALE) for row in command.read_rows(folder)]
    (slowed / POINTS).write_text("".join(row.model_dump_json() + "\n" for row in rows))
    (slowed / "manifest.json").write_text((folder / "manifest.json").read_text())
    assert rows[0].ttft_s == pytest.approx(SCALE * command.read_rows(folder)[0].ttft_s)
    command.unscale(slowed, SCALE)
    before, after = (measurements.read(path) for path in (folder, slowed))
    assert len(after.prefill) == len(before.prefill)
    for mine, original in zip(after.prefill, before.prefill, strict=True):
        assert mine.server_received_unix_s == original.server_received_unix_s
        for name, value in original:
            expected = pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
            assert getattr(mine, name) == expected
    (stalled,), (unstalled,) = after.interference, before.interference
    assert stalled.stall_gap_s == pytest.approx(unstalled.stall_gap_s)


@pytest.mark.parametrize(("fitted_s", "code"), [(1.019, 0), (1.021, 1), (0.979, 1)])
def test_two_percent_on_one_cell_decide(command, capsys, fitted_s, code):
    right = RecoveredCell(cell="right", driven_s=1.0, measured_s=1.0, fitted_s=1.0)
    cells = [replace(right, cell="odd", fitted_s=fitted_s), right]
    assert command.verdict(cells) == code
    said = capsys.readouterr().out
    assert f"{2 - code} of 2 cells within 2%" in said
    assert said.splitlines()[-2].startswith("odd")


def test_nothing_measured_is_nothing_recovered(command):
    assert command.verdict([]) == 1
