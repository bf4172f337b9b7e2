"""Fits recover the machine that made the rows; cells stay whole; the committed profile is what refitting gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from curve_cases import ENGINE
from fit.grids import CACHED, NEW, TRUTH, rows, write

from ppdsim import compose, measurements, profile
from ppdsim.cost.prefill import ONE_WAVE_TOKENS
from ppdsim.errors import MeasurementError
from ppdsim.fit.assumed import PRIORS
from ppdsim.fit.bootstrap import resample
from ppdsim.fit.cells import cell_value, grid
from ppdsim.fit.crossval import leave_one_out, name_of, predict_cells, splits
from ppdsim.fit.curves import fit_model, prepared
from ppdsim.fit.run import PRIORS as DRIFTS
from ppdsim.fit.run import _matrices, fit_profile, wave_of
from ppdsim.types import Arm, Tag, Transport

SHIPPED = "h200x2_llama-3.1-8b_sglang-0.5.17"


def refit(cells):
    return fit_model(
        cells,
        chunk_tokens=8192,
        page_size_tokens=64,
        kv_bytes_per_token=131_072,
        wave_tokens=528.0,
        engine=ENGINE,
    )


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    return measurements.read(write(tmp_path_factory.mktemp("exact") / "m", rows(TRUTH)))


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    records = rows(TRUTH, noise=0.02, repeats=3)
    return measurements.read(write(tmp_path_factory.mktemp("noisy") / "m", records))


def test_rows_without_noise_give_back_every_cell(exact):
    cells = grid(exact)
    model = refit(cells)
    for group in cells.all():
        if group.arm is Arm.P_FULL:
            continue  # p-full over TCP has no prefix term in the fitted form; the machine that made the rows has one
        np.testing.assert_allclose(predict_cells(model, group), group.seconds, rtol=5e-3, err_msg=name_of(group))


def test_what_of_a_launch_hides_is_what_streams_do_not_lose_to_appends(exact):
    cells = grid(exact)
    fitted = refit(cells).prefill
    assert fitted.prepare_s == pytest.approx(TRUTH.prefill.prepare_s, rel=0.02)
    stall = cells.stall
    # A loss above T_ext hides nothing, and no more than the floor can be hidden.
    for lost_s, hidden_s in ((stall.lost_s + 1.0, 0.0), (stall.lost_s - 1.0, fitted.floor_s)):
        found = prepared(fitted, replace(stall, lost_s=lost_s), 8192)
        assert found.prepare_s == hidden_s
    # Where no append of one chunk was seen it is assumed, and not 0.
    unseen = prepared(fitted, stall.pick(stall.new_tokens > 8192), 8192)
    assert unseen.prepare_s == PRIORS["prefill.prepare_s"].middle


def test_how_many_rows_run_at_once_is_counted_and_not_fitted(exact):
    for gpu, tp, expected in (
        ({"multiprocessors": 100}, 1, 400.0),
        ({"multiprocessors": 100, "name": "NVIDIA H200"}, 2, 800.0),
        ({"multiprocessors": None, "name": "NVIDIA H200"}, 1, 528.0),
        ({"multiprocessors": None}, 1, ONE_WAVE_TOKENS),
    ):
        manifest = exact.manifest
        there = {"gpu": manifest.gpu.model_copy(update=gpu), "tensor_parallel_size": tp}
        assert wave_of(manifest.model_copy(update=there)) == expected
    record = fit_profile(exact, draws=2).curve("prefill")
    (wave,) = (p for p in record.parameters if p.name == "wave_tokens")
    assert (wave.value, wave.low, wave.high, wave.tag) == (528.0, 528.0, 528.0, Tag.DATA_SHEET)
    assert record.draw_names == tuple(p.name for p in record.parameters if p is not wave)


def test_noise_moves_the_append_curve_by_less_than_itself(noisy):
    cells = grid(noisy)
    model = refit(cells)
    truth = TRUTH.append_ttft_s(cells.append.cached_tokens, cells.append.new_tokens)
    error = np.abs(predict_cells(model, cells.append) / truth - 1)
    assert np.median(error) < 0.02


def test_left_out_cells_were_never_fitted(exact):
    seen = []

    def spy(cells):
        seen.append(cells)
        return refit(cells)

    found = leave_one_out(grid(exact), spy)
    for (column, value), cells in zip(splits(grid(exact)), seen, strict=True):
        if column in ("cached_tokens", "new_tokens"):
            for group in (cells.append, *cells.handoffs, cells.stall):
                assert value not in getattr(group, column)
        else:
            assert len(cells.decode) < len(grid(exact).decode)
    # Every prefill cell is left out twice: once with its L, once with its m.
    assert len(found.tested["append-d"].cells) == 2 * len(CACHED) * len(NEW)


def test_a_bootstrap_draws_cells_not_rows(noisy):
    cells = grid(noisy)
    again = resample(cells, np.random.default_rng(0))
    original = set(cells.append.seconds.tolist())
    assert len(again.append) == len(cells.append)
    assert set(again.append.seconds.tolist()) <= original
    assert len(set(again.append.seconds.tolist())) < len(original)


def test_a_cell_is_the_median_of_its_repeats_and_an_accident_is_dropped():
    assert cell_value([1.0, 1.02, 5.0]) == 1.02
    assert cell_value([1.0, 1.3]) == 1.0
    assert cell_value([1.0, 1.2]) == pytest.approx(1.1)


def test_intervals_hold_the_cells_of_the_machine_they_were_fitted_to(noisy):
    fitted = fit_profile(noisy, draws=40)
    covered = [c.coverage_within_run for c in fitted.curves if c.coverage_within_run is not None]
    cells = [c.cells for c in fitted.curves if c.coverage_within_run is not None]
    assert 0.8 <= np.average(covered, weights=cells) <= 1.0


def test_a_profile_is_reproducible_and_round_trips(noisy, tmp_path):
    first, second = fit_profile(noisy, draws=5), fit_profile(noisy, draws=5)
    assert first == second
    profile.save(first, tmp_path / "p.json")
    assert profile.load(tmp_path / "p.json") == first


def test_mechanisms_that_nobody_measured_are_tagged(repository):
    shipped = profile.load(repository / "calibration/profiles" / f"{SHIPPED}.json")
    for arm, transport in ((Arm.P_DELTA, Transport.NVLINK), (Arm.P_FULL, Transport.RDMA)):
        record = shipped.curve("handoff", arm, transport)
        assert record.tag is Tag.MECHANISM
        assert all(p.tag is Tag.MECHANISM for p in record.parameters)
        # Its times state a named prior no narrower than what they are built from, shares and what is absent do not.
        built_from = {p.name: p for p in shipped.curve("handoff", Arm.P_FULL, Transport.NVLINK).parameters}
        for p in record.parameters:
            if p.value in (0.0, 1.0):
                assert p.low == p.high == p.value
                continue
            assert p.high / p.low > np.exp(2 * 1.64 * 0.25)
            if p.value == built_from[p.name].value:
                assert p.low <= built_from[p.name].low
                assert p.high >= built_from[p.name].high
    stall = {p.name: p.tag for p in shipped.curve("stall").parameters}
    assert stall == {"launch_s": Tag.MEASURED, "handoff_s": Tag.ASSUMED}


def test_refitting_the_committed_measurements_gives_the_committed_profile(repository):
    """Bounds, tags and structure exactly; numbers to what other builds of the numerical libraries may move."""
    fitted = fit_profile(measurements.read(repository / "calibration/measurements" / SHIPPED))
    shipped = profile.load(repository / "calibration/profiles" / f"{SHIPPED}.json")
    assert [c.name for c in fitted.curves] == [c.name for c in shipped.curves]
    for new, old in zip(fitted.curves, shipped.curves, strict=True):
        for a, b in zip(new.parameters, old.parameters, strict=True):
            assert (a.name, a.unit, a.tag, a.at_bound) == (b.name, b.unit, b.tag, b.at_bound)
            assert a.value == pytest.approx(b.value, rel=1e-2, abs=1e-9), f"{new.name}.{a.name}"
        assert new.misfit == pytest.approx(old.misfit, rel=0.1)
    ours, theirs = compose.central(fitted), compose.central(shipped)
    for cached, tokens in ((0.0, 64.0), (4096.0, 256.0), (32_768.0, 8192.0)):
        for arm, transport in ((Arm.APPEND_D, Transport.NONE), *ours.handoffs):
            assert ours.ttft_s(arm, transport, cached, tokens) == pytest.approx(
                theirs.ttft_s(arm, transport, cached, tokens), rel=2e-3
            )
    assert fitted.provenance["points_sha256"] == shipped.provenance["points_sha256"]


def test_the_committed_profile_is_small(repository):
    assert (repository / "calibration/profiles" / f"{SHIPPED}.json").stat().st_size < 100_000


@pytest.mark.parametrize("kind", ["prefill", "decode", "interference"])
def test_a_missing_kind_is_named(kind, tmp_path):
    records = [record for record in rows(TRUTH) if record["kind"] != kind]
    measured = measurements.read(write(tmp_path / "m", records))
    with pytest.raises(MeasurementError, match=f"no believable rows of kind '{kind}'"):
        fit_profile(measured)


@pytest.mark.parametrize("kind", ["prefill", "decode", "interference"])
def test_a_kind_of_which_nothing_may_be_fitted_is_named(kind, tmp_path):
    """Held-out rows alone, or a hand-off's alone, leave a curve without a cell."""
    change = {"purpose": "validation"} if kind == "decode" else {"arm": "p-full", "transport": "tcp"}
    records = [record | change if record["kind"] == kind else record for record in rows(TRUTH)]
    measured = measurements.read(write(tmp_path / "m", records))
    of_arm = "" if kind == "decode" else " of arm 'append-d'"
    with pytest.raises(MeasurementError, match=f"no {kind} rows{of_arm} to fit, only others"):
        fit_profile(measured)


def test_a_changed_points_file_is_refused(tmp_path):
    folder = write(tmp_path / "m", rows(TRUTH))
    points = folder / "points.jsonl"
    points.write_text(points.read_text().replace('"batch": 8', '"batch": 9', 1))
    with pytest.raises(MeasurementError, match="the points were changed"):
        measurements.read(folder)


def test_committed_points_are_what_the_manifest_says(repository):
    measured = measurements.read(repository / "calibration/measurements" / SHIPPED)
    assert (len(measured.prefill), len(measured.decode), len(measured.interference)) == (280, 20, 12)
    assert measured.refused == ()
    assert json.loads(Path(measured.path / "manifest.json").read_text())["id"] == SHIPPED


def test_a_prior_of_a_factor_goes_as_far_down_as_up():
    factors = {drift.quantity: drift for drift in DRIFTS if drift.scale == "factor"}
    assert factors["wire_s_per_token"].high == 1.12
    for drift in factors.values():
        assert drift.low < 1.0 < drift.high
        assert drift.low * drift.high == pytest.approx(1.0, rel=1e-3)


def test_matrices_are_known_with_both_sizes_and_weights_of_a_known_width(exact):
    shape = {"hidden_size": 4096, "intermediate_size": 14_336, "weights_dtype": "bf16"}
    found = _matrices(exact.manifest.model.model_copy(update=shape))
    assert (found.hidden_size, found.intermediate_size) == (4096, 14_336)
    for lacking in ({"hidden_size": None}, {"intermediate_size": None}, {"weights_dtype": "made-up"}):
        assert _matrices(exact.manifest.model.model_copy(update=shape | lacking)) is None
