"""Rows may lack what only some engines record: the terms it shows are then assumed and tagged, and never 0."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
from fit.grids import NEW, TRUTH, rows, write

from ppdsim import compose, measurements, profile
from ppdsim.card import card_of, to_text
from ppdsim.fit.assumed import PRIORS, drawn, middles, unshown
from ppdsim.fit.cells import Cells, cell_value, grid
from ppdsim.fit.crossval import leave_one_out
from ppdsim.fit.curves import terms
from ppdsim.fit.known import known, median_of_known
from ppdsim.fit.run import fit_profile, fitter
from ppdsim.points import Point
from ppdsim.predict import predict
from ppdsim.types import Arm, Tag, Transport

OPTIONAL = ("itl_s", "server_forward_entry_s", "server_prefill_finished_s", "server_first_response_s")
STAMPS = OPTIONAL[1:]


def measured(folder, records):
    return measurements.read(write(folder / "m", records))


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """The profile of rows that lack nothing."""
    return fit_profile(measured(tmp_path_factory.mktemp("complete"), rows(TRUTH)), draws=2)


def without(records, *names, where=lambda record: True):
    return [{k: v for k, v in r.items() if k not in names or not where(r)} for r in records]


def tags(fitted, kind):
    return {p.name: p.tag for record in fitted.curves if record.kind == kind for p in record.parameters}


def value(fitted, kind, name):
    return next(p for record in fitted.curves if record.kind == kind for p in record.parameters if p.name == name)


def test_what_is_known_leaves_out_what_is_missing_and_nothing_known_is_none():
    assert known([1.0, None, math.nan, math.inf, 0.0]).tolist() == [1.0, 0.0]
    assert median_of_known([3.0, None, 1.0]) == 2.0
    assert median_of_known([None, math.nan]) is None
    assert cell_value([1.0]) == 1.0


def test_rows_without_server_stamps_give_a_profile_whose_split_is_assumed(tmp_path):
    """The sum that the client saw stays as sure as it was; only how it parts is a prior."""
    full = measured(tmp_path / "full", rows(TRUTH))
    bare = measured(tmp_path / "bare", without(rows(TRUTH), *STAMPS))
    fitted = fit_profile(bare, draws=20)
    for kind, name in (
        ("frontend", "in_s"),
        ("frontend", "in_s_per_token"),
        ("frontend", "out_s"),
        ("handoff", "join_s"),
    ):
        p = value(fitted, kind, name)
        assert p.tag is Tag.ASSUMED
        assert p.value == pytest.approx(PRIORS[f"{kind}.{name}"].middle)
        assert p.low < p.value < p.high
    assert tags(fitted, "prefill")["floor_s"] is Tag.MEASURED
    text = to_text(card_of(fitted))
    assert "frontend.in_s, frontend.in_s_per_token, frontend.out_s: assumed" in text
    assert "measured by rows with the server's own stamps" in text
    stamped = fit_profile(full, draws=20)
    assert tags(stamped, "frontend") == dict.fromkeys(("in_s", "in_s_per_token", "out_s"), Tag.MEASURED)
    points = [point(0, 64), point(8192, 1024)]
    for one, other in zip(predict(fitted, points), predict(stamped, points), strict=True):
        assert one.predicted_s == pytest.approx(other.predicted_s, rel=0.03)
    profile.save(fitted, tmp_path / "p.json")
    assert profile.load(tmp_path / "p.json") == fitted


def point(cached, new, **more):
    given = {"kind": "prefill", "arm": Arm.APPEND_D, "transport": Transport.NONE, "batch": 0.0, "context_tokens": 0.0}
    given |= {"prefill_cached_tokens": None, "source": {}, **more}
    return Point(cached_tokens=float(cached), new_tokens=float(new), **given)


def test_one_row_without_its_gaps_changes_nothing(tmp_path):
    records = rows(TRUTH)
    records[0] = {k: v for k, v in records[0].items() if k != "itl_s"}
    fitted = fitter(measured(tmp_path, records))(grid(measured(tmp_path, records)))
    assert fitted.decode.start_s == pytest.approx(TRUTH.decode.start_s, rel=1e-6)


@pytest.mark.parametrize("arm", ["append-d", "p-full", None])
def test_without_gaps_on_one_side_the_first_step_is_assumed(tmp_path, arm):
    records = without(rows(TRUTH), "itl_s", where=lambda r: arm is None or r.get("arm") == arm or arm != "append-d")
    fitted = fit_profile(measured(tmp_path, records), draws=3)
    start = value(fitted, "decode", "start_s")
    assert (start.tag, start.value) == (Tag.ASSUMED, PRIORS["decode.start_s"].middle)


def test_streams_whose_windows_are_missing_leave_what_hides_assumed(tmp_path):
    empty = {"window_sum_s": [], "window_gaps": []}
    records = [r | empty if r["kind"] == "interference" else r for r in rows(TRUTH)]
    fitted = fit_profile(measured(tmp_path, records), draws=3)
    hidden = value(fitted, "prefill", "prepare_s")
    assert (hidden.tag, hidden.value) == (Tag.ASSUMED, PRIORS["prefill.prepare_s"].middle)
    assert "prefill.prepare_s, prefill.further_share: assumed" in " ".join(fitted.notes)


def test_a_chunk_more_is_measured_where_a_prompt_has_one_and_assumed_elsewhere(tmp_path, complete):
    records = rows(TRUTH)
    assert max(NEW) <= 8192
    assert value(complete, "prefill", "further_share").tag is Tag.ASSUMED
    long = dict(records[0], cached_tokens=0, found_cached_tokens=0, new_tokens=20_000, cell="")
    long |= {"ttft_s": float(TRUTH.append_ttft_s(0.0, 20_000.0))}
    long["server_prefill_finished_s"] = 1e-3 + float(TRUTH.prefill.seconds(20_000.0, 0.0, 8192))
    fitted = fit_profile(measured(tmp_path / "b", [*records, long]), draws=2)
    found = value(fitted, "prefill", "further_share")
    assert found.tag is Tag.MEASURED
    assert found.value == pytest.approx(TRUTH.prefill.further_share, rel=0.15)


@pytest.mark.parametrize("name", OPTIONAL)
def test_an_optional_column_that_is_missing_changes_only_terms_that_are_tagged(tmp_path, complete, name):
    fitted = fit_profile(measured(tmp_path, without(rows(TRUTH), name)), draws=2)
    truth = compose.central(complete)
    for record in fitted.curves:
        for p in record.parameters:
            assert math.isfinite(p.value)
            if p.tag is Tag.ASSUMED and p.name != "handoff_s":
                assert p.value > 0.0, f"{record.name}.{p.name}"
    model = compose.central(fitted)
    for cached, new in ((0.0, 64.0), (8192.0, 1024.0)):
        assert model.append_ttft_s(cached, new) == pytest.approx(truth.append_ttft_s(cached, new), rel=0.05)


def test_a_term_is_unshown_exactly_where_its_columns_are_all_missing(tmp_path):
    cells = grid(measured(tmp_path, rows(TRUTH)))
    assert unshown(cells, 8192) == {"prefill": ("further_share",)}
    assert unshown(cells, 4096) == {}
    one_left = without(rows(TRUTH), *OPTIONAL, where=lambda r: r.get("repeat") != 0)
    assert unshown(grid(measured(tmp_path / "b", one_left)), 8192) == {"prefill": ("further_share",)}


def test_columns_of_seconds_hold_nan_and_never_0_where_nothing_was_measured(tmp_path):
    cells = grid(measured(tmp_path, without(rows(TRUTH), *OPTIONAL)))
    for group in (cells.append, *cells.handoffs):
        for name in ("outside_s", "after_s", "short_itl_s", "lost_s"):
            assert np.isnan(getattr(group, name)).all()
    assert np.isnan(cells.decode.lost_s).all()
    assert {f.name for f in fields(Cells)} >= {"outside_s", "after_s", "short_itl_s", "lost_s"}


def test_priors_are_drawn_about_their_middles_and_the_same_every_time():
    names = list(middles())
    table = np.array([[draw[name] for name in names] for draw in drawn(400)])
    np.testing.assert_array_equal(table, [[draw[name] for name in names] for draw in drawn(400)])
    for column, name in zip(table.T, names, strict=True):
        assert np.median(column) == pytest.approx(PRIORS[name].middle, rel=0.1)
        assert np.std(np.log(column)) == pytest.approx(PRIORS[name].sigma, rel=0.15)


def handoffs_of_one_prefix(records):
    return [r for r in records if r.get("arm") != "p-full" or r["kind"] != "prefill" or r["cached_tokens"] == 8192]


def test_a_single_prefix_of_a_hand_off_is_not_left_out_and_the_card_says_so(tmp_path):
    """Left out, nothing of the hand-off would stay to fit: what is scored would be where the search starts."""
    run = measured(tmp_path, handoffs_of_one_prefix(rows(TRUTH, noise=0.02, repeats=3)))
    found = leave_one_out(grid(run), fitter(run))
    assert found.untested == {"p-full:tcp": ("cached_tokens",)}
    assert set(found.tested["p-full:tcp"].cells.new_tokens) == set(NEW)
    fitted = fit_profile(run, draws=20)
    record = fitted.curve("handoff", Arm.P_FULL, Transport.TCP)
    assert record.misfit < 0.2
    assert "p-full:tcp: not tested at other cached_tokens than 8192 to 8192" in to_text(card_of(fitted))
    tcp = {"arm": Arm.P_FULL, "transport": Transport.TCP}
    inside, beyond = predict(fitted, [point(8192, 1024, **tcp), point(9000, 1024, **tcp)], within_run=True)
    half = [math.log(found.high_s / found.low_s) / 2 for found in (inside, beyond)]
    assert half[0] < 0.35
    assert half[1] > compose.HALF_NORMAL_90 * compose.UNMEASURED_SIGMA * 0.95


def test_a_hand_off_with_too_few_cells_to_leave_any_out_has_the_prior_for_its_misfit(tmp_path):
    records = [
        r for r in handoffs_of_one_prefix(rows(TRUTH)) if r.get("arm") != "p-full" or r["new_tokens"] in (64, 8192)
    ]
    fitted = fit_profile(measured(tmp_path, records), draws=3)
    record = fitted.curve("handoff", Arm.P_FULL, Transport.TCP)
    assert (record.cells, record.left_out, record.coverage_within_run) == (2, None, None)
    assert record.untested == ("cached_tokens", "new_tokens")
    assert record.misfit == compose.UNMEASURED_SIGMA
    text = to_text(card_of(fitted))
    assert "p-full:tcp: not tested, 2 cells are too few to leave any out; its misfit is a named prior of 25 %" in text
    (row,) = [line for line in text.splitlines() if line.startswith("  p-full:tcp ") and "not tested" in line]
    assert row.split()[:4] == ["p-full:tcp", "2", "not", "tested"]


def test_one_batch_of_decoding_is_not_left_out(tmp_path):
    run = measured(tmp_path, [r for r in rows(TRUTH) if r["kind"] != "decode" or r["batch"] == 16])
    assert len(grid(run).decode) == terms(grid(run).decode) == 3
    found = leave_one_out(grid(run), fitter(run))
    assert found.untested == {"decode": ("batch", "context_tokens")}
    assert "decode" not in found.tested
    assert fit_profile(run, draws=3).curve("decode").misfit == compose.UNMEASURED_SIGMA
