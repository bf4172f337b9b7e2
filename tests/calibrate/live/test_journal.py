"""The raw file: on disk at once, continued after a cut, outliers marked and never counted."""

from __future__ import annotations

import json

import pytest

from ppdsim.calibrate.cells import prefill_cells
from ppdsim.calibrate.live.journal import POINTS, Journal
from ppdsim.calibrate.live.plan import Repeats
from ppdsim.errors import MeasurementError
from ppdsim.measurements import Measurements, PrefillRow, parse_row
from ppdsim.types import Arm, Transport

REPEATS = Repeats(least=2, most=5, half_width=0.02)


def row(ttft_s: float, cell: str = "fit/prefill/append-d/0/64", **fields) -> PrefillRow:
    return PrefillRow(
        arm=Arm.APPEND_D,
        transport=Transport.NONE,
        cached_tokens=0,
        new_tokens=64,
        found_cached_tokens=0,
        repeat=0,
        elapsed_s=0.0,
        ttft_s=ttft_s,
        output_tokens=4,
        finish_reason="length",
        cell=cell,
        **fields,
    )


def test_a_row_is_on_disk_before_the_next_is_measured(tmp_path):
    journal = Journal(tmp_path, resume=False)
    journal.add(row(0.01))
    lines = (tmp_path / POINTS).read_text().splitlines()
    assert parse_row(json.loads(lines[0]), where="x") == row(0.01)


def test_a_cell_is_settled_when_its_repeats_agree(tmp_path):
    journal = Journal(tmp_path, resume=False)
    cell = row(1.0).cell
    assert not journal.settled(cell, REPEATS)
    journal.add(row(0.0100))
    assert not journal.settled(cell, REPEATS)
    journal.add(row(0.0101))
    assert journal.settled(cell, REPEATS)


def test_a_cell_that_never_agrees_ends_after_the_most_repeats(tmp_path):
    journal = Journal(tmp_path, resume=False)
    for value in (0.010, 0.011, 0.012, 0.0105):
        journal.add(row(value))
        assert not journal.settled(row(1.0).cell, REPEATS)
    journal.add(row(0.0115))
    assert journal.settled(row(1.0).cell, REPEATS)


def test_an_outlier_is_kept_marked_and_not_counted(tmp_path):
    journal = Journal(tmp_path, resume=False)
    journal.add(row(0.010))
    assert journal.add(row(0.020)).outlier
    assert not journal.settled(row(1.0).cell, REPEATS)
    journal.add(row(0.0101))
    assert journal.settled(row(1.0).cell, REPEATS)
    rows = [parse_row(json.loads(line), where="x") for line in (tmp_path / POINTS).read_text().splitlines()]
    assert [r.outlier for r in rows] == [False, True, False]
    assert [r.repeat for r in rows] == [0, 1, 2]
    measured = Measurements(
        manifest=None, path=tmp_path, prefill=tuple(rows), decode=(), interference=(), load=(), transfer=(), refused=()
    )
    assert prefill_cells(measured, Arm.APPEND_D, Transport.NONE).seconds.tolist() == [pytest.approx(0.01005)]


def test_held_out_rows_and_probes_are_no_cells_of_a_fit(tmp_path):
    rows = (row(0.01), row(0.05, purpose="validation"), row(0.06, purpose="probe"))
    measured = Measurements(
        manifest=None, path=tmp_path, prefill=rows, decode=(), interference=(), load=(), transfer=(), refused=()
    )
    assert prefill_cells(measured, Arm.APPEND_D, Transport.NONE).seconds.tolist() == [0.01]


def test_a_second_run_needs_resume_and_goes_on(tmp_path):
    first = Journal(tmp_path, resume=False)
    first.add(row(0.010, block=3))
    with pytest.raises(MeasurementError, match="--resume"):
        Journal(tmp_path, resume=False)
    again = Journal(tmp_path, resume=True)
    assert (again.rows, again.last_block) == (1, 3)
    again.add(row(0.0101))
    assert again.settled(row(1.0).cell, REPEATS)


def test_a_torn_last_line_is_dropped(tmp_path):
    journal = Journal(tmp_path, resume=False)
    journal.add(row(0.010))
    path = tmp_path / POINTS
    path.write_bytes(path.read_bytes() + b'{"kind": "prefill", "arm": "app')
    again = Journal(tmp_path, resume=True)
    assert again.rows == 1
    again.add(row(0.0101))
    assert len(path.read_text().splitlines()) == 2


def test_a_skipped_cell_counts_as_a_try(tmp_path):
    journal = Journal(tmp_path, resume=False)
    for _ in range(REPEATS.most):
        journal.skip("fit/decode/4/512", "timeout: 0 of 96 tokens within 120 s")
    assert journal.settled("fit/decode/4/512", REPEATS)
