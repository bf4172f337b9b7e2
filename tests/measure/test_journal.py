"""The raw file: on disk at once, continued after a cut, outliers marked and never counted."""

from __future__ import annotations

import json

import pytest

from ppdsim.errors import MeasurementError
from ppdsim.fit.cells import prefill_cells
from ppdsim.measure.journal import POINTS, Journal, read_rows
from ppdsim.measure.plan import Repeats
from ppdsim.measurements import DecodeRow, InterferenceRow, Measurements, OutlierMark, PrefillRow, parse_row
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


def decode_row(itl_s: float) -> DecodeRow:
    return DecodeRow(
        batch=4,
        prompt_tokens=512,
        generated_tokens=80.0,
        gaps=600,
        elapsed_s=0.0,
        itl_median_s=itl_s,
        itl_mean_s=itl_s,
        window_s=1.0,
        finish_reason="length",
        cell="fit/decode/4/512",
    )


def stall_row(gap_s: float) -> InterferenceRow:
    return InterferenceRow(
        batch=4,
        prompt_tokens=512,
        generated_tokens=80.0,
        cached_tokens=0,
        new_tokens=256,
        found_cached_tokens=(0,),
        append_ttft_s=(gap_s,),
        stall_gap_s=(gap_s,),
        window_sum_s=(gap_s,),
        window_gaps=(1.0,),
        itl_base_s=0.005,
        all_running=True,
        elapsed_s=0.0,
        finish_reason="length",
        cell="fit/interference/append-d/4/512/0/256",
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


def outliers(folder):
    return [found.outlier for found in read_rows(folder)]


@pytest.mark.parametrize("make", [row, decode_row, stall_row])
def test_a_first_repeat_that_was_the_accident_is_marked_when_the_second_is_there(tmp_path, make):
    journal = Journal(tmp_path, resume=False)
    journal.add(make(0.020))
    before = (tmp_path / POINTS).read_bytes()
    assert not journal.add(make(0.010)).outlier
    # Nothing that was written is touched: a line says it.
    assert (tmp_path / POINTS).read_bytes().startswith(before)
    assert outliers(tmp_path) == [True, False]
    # The accident is no repeat: the cell is measured again, in this call or in the next.
    cell = make(1.0).cell
    assert not journal.settled(cell, REPEATS)
    again = Journal(tmp_path, resume=True)
    assert not again.settled(cell, REPEATS)
    again.add(make(0.0101))
    assert again.settled(cell, REPEATS)
    assert outliers(tmp_path) == [True, False, False]
    assert len((tmp_path / POINTS).read_text().splitlines()) == 4


def test_two_accidents_of_five_are_marked_whenever_they_came(tmp_path):
    journal = Journal(tmp_path, resume=False)
    for value in (0.020, 0.0100, 0.0101, 0.030, 0.0102):
        journal.add(row(value))
    assert outliers(tmp_path) == [True, False, False, True, False]


def test_drift_is_no_row_of_accidents(tmp_path):
    """A floor that doubles for good is measured as what it is, after a few probes."""
    journal = Journal(tmp_path, resume=False)
    for value in [0.008] * 20 + [0.016] * 20:
        journal.add(row(value, purpose="probe"))
    assert sum(outliers(tmp_path)) <= 3
    assert not any(outliers(tmp_path)[23:])


def test_a_mark_of_a_row_that_is_not_there_is_named(tmp_path):
    journal = Journal(tmp_path, resume=False)
    journal.add(row(0.020))
    mark = OutlierMark(cell=row(1.0).cell, nth=1, value_s=0.02, median_s=0.01)
    with (tmp_path / POINTS).open("a") as file:
        file.write(mark.model_dump_json() + "\n")
    with pytest.raises(MeasurementError, match=r"points.jsonl:2: marks row 1 of 'fit/prefill/append-d/0/64'"):
        read_rows(tmp_path)
