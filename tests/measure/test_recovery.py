"""On a virtual clock, calibrating a stand-in gives back the profile that drives it, within 2 % on every cell."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from measure.standins import DELTA_TCP, FULL_NVLINK, FULL_TCP, MACHINE, SHIPPED, UNIFIED, service
from recovered import recovered as recovered_cells
from virtual_loop import run_virtually

from ppdsim import compose, measurements
from ppdsim.measure.calibrate import fit, measure
from ppdsim.measure.journal import POINTS, SKIPPED
from ppdsim.measure.plan import load_plan
from ppdsim.types import Tag

ARMS = (UNIFIED, FULL_TCP, DELTA_TCP, FULL_NVLINK)
# Over TCP, D has a prefix cache, which is emptied for full hand-offs.
# There, what tells a full hand-off from a delta one is what is sent: both are driven by one curve.
SAME = compose.central(SHIPPED)
SAME = replace(SAME, handoffs={**SAME.handoffs, DELTA_TCP: SAME.handoffs[FULL_TCP]})
SERVICES = (service(*UNIFIED), service(*DELTA_TCP, decode_radix=True, model=SAME), service(*FULL_NVLINK))
WITHIN = 0.02


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    measure(
        load_plan("quick"),
        SERVICES,
        MACHINE,
        path,
        resume=False,
        show_line=_quiet,
        runner=run_virtually,
    )
    return path


@pytest.fixture(scope="module")
def recovered(folder):
    return fit(folder, show_line=_quiet, draws=10)


def _quiet(text: str) -> None:
    del text


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: f"{arm[0].value} {arm[1].value}")
def test_every_measured_turn_is_predicted(recovered, folder, arm):
    driven, found = SAME, compose.central(recovered)
    rows = [r for r in measurements.read(folder).prefill if (r.arm, r.transport) == arm]
    if arm == FULL_TCP:
        # Where D has to be emptied first, a turn with a prefix shows that it was.
        assert sum(r.cached_tokens > 0 for r in rows) > 20
    cached, new = (np.array([float(getattr(r, n)) for r in rows]) for n in ("cached_tokens", "new_tokens"))
    assert {r.purpose for r in rows} == {"fit", "validation", "probe"}
    expected = np.asarray(driven.ttft_s(*arm, cached, new))
    np.testing.assert_allclose([r.ttft_s for r in rows], expected, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(found.ttft_s(*arm, cached, new)), expected, rtol=WITHIN)


def test_every_cell_of_the_run_is_recovered(recovered, folder):
    """The comparison that the command through sockets ends with."""
    cells = recovered_cells(measurements.read(folder), driven=SAME, fitted=compose.central(recovered))
    assert len(cells) > 100
    assert max(abs(cell.fitted_error) for cell in cells) < WITHIN


def test_every_decode_cell_is_predicted(recovered, folder):
    found = compose.central(recovered)
    for row in measurements.read(folder).decode:
        context = row.batch * (row.prompt_tokens + row.generated_tokens)
        assert float(found.decode.step_s(row.batch, context)) == pytest.approx(row.itl_median_s, rel=WITHIN)


def test_every_stall_is_predicted(recovered, folder):
    found = compose.central(recovered)
    rows = [row for row in measurements.read(folder).interference if row.arm is UNIFIED[0]]
    assert rows
    for row in rows:
        gap = found.stall_gap_s(
            float(row.cached_tokens),
            float(row.new_tokens),
            float(row.batch),
            row.prompt_tokens + row.generated_tokens,
        )
        assert float(gap) == pytest.approx(np.median(row.stall_gap_s), rel=WITHIN)


def test_what_a_hand_off_takes_is_measured_now(recovered):
    record = next(p for p in recovered.curve("stall").parameters if p.name == "handoff_s")
    assert record.tag is Tag.MEASURED
    assert record.value == pytest.approx(0.0, abs=2e-4)
    assert not any("assumed 0" in note for note in recovered.notes)


def test_the_validation_cells_were_not_fitted(recovered, folder):
    rows = measurements.read(folder)
    fitted = {(r.cached_tokens, r.new_tokens) for r in rows.prefill if r.purpose == "fit" and r.arm is UNIFIED[0]}
    assert recovered.curve("prefill").cells == len(fitted)


def test_drift_was_measured_and_there_is_none(recovered):
    for drift in recovered.drift:
        assert drift.tag is Tag.MEASURED
        assert drift.high / drift.low < 1.05


def test_a_second_run_on_the_same_plan_adds_nothing(folder):
    before = (folder / POINTS).read_bytes()
    lines = []
    measure(
        load_plan("quick"),
        SERVICES,
        MACHINE,
        folder,
        resume=True,
        show_line=lines.append,
        runner=run_virtually,
    )
    assert (folder / POINTS).read_bytes() == before
    assert lines[-1].startswith("0 rows added")


def test_nothing_was_skipped(folder):
    assert not (folder / SKIPPED).exists()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["transports"] == ["nvlink", "tcp"]
    assert manifest["source"] == "ppdsim calibrate"
