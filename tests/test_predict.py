"""Predictions are the turn model's, their intervals widen with drift, and what they rest on is said."""

from __future__ import annotations

import csv
import io
import itertools
import json

import numpy as np
import pytest

from ppdsim import compose, profile
from ppdsim.errors import InputError, ProfileError
from ppdsim.points import parse_point, read_points
from ppdsim.predict import BLOCK_POINTS, check, predict
from ppdsim.types import Arm, Transport

SHIPPED = "h200x2_llama-3.1-8b_sglang-0.5.17"


@pytest.fixture(scope="module")
def shipped(repository):
    return profile.load(repository / "calibration/profiles" / f"{SHIPPED}.json")


def point(**columns):
    given = {"kind": "prefill", "arm": "append-d", "transport": "none", "cached_tokens": 4096, "new_tokens": 256}
    return parse_point({**given, **columns}, "points.csv:2")


def test_values_are_the_turn_models(shipped):
    model = compose.central(shipped)
    found = list(
        predict(
            shipped,
            [
                point(),
                point(arm="p-full", transport="tcp", prefill_cached_tokens=0),
                point(kind="decode", batch=8, context_tokens=2048),
                point(kind="stall", batch=8, context_tokens=2048),
            ],
        )
    )
    expected = [
        model.append_ttft_s(4096.0, 256.0),
        model.handoff_ttft_s(Arm.P_FULL, Transport.TCP, 4096.0, 256.0, 0.0),
        model.decode.step_s(8.0, 8 * 2048.0),
        model.stall_gap_s(4096.0, 256.0, 8.0, 2048.0),
    ]
    np.testing.assert_allclose([f.predicted_s for f in found], expected, rtol=1e-12)
    assert all(f.low_s <= f.predicted_s <= f.high_s for f in found)


def test_drift_widens_the_interval_where_the_floor_decides(shipped):
    small = point(new_tokens=64)
    (within,) = predict(shipped, [small], within_run=True)
    (another,) = predict(shipped, [small])
    assert within.predicted_s == another.predicted_s
    assert another.high_s - another.low_s > 3 * (within.high_s - within.low_s)
    assert another.high_s > 1.4 * another.predicted_s
    # The wide interval is the prior's: 8 to 17 ms of launch floor, plus what is outside the forward.
    assert 0.017 < another.high_s < 0.026


@pytest.mark.parametrize(
    ("columns", "mechanisms", "outside"),
    [
        ({}, (), False),
        ({"new_tokens": 600}, ("prefill graph sizes",), False),
        ({"new_tokens": 16_384}, ("chunked prefill",), True),
        ({"cached_tokens": 65_536}, (), True),
        ({"arm": "p-delta", "transport": "nvlink"}, ("p-delta over nvlink",), True),
        ({"arm": "p-full", "transport": "rdma"}, ("p-full over rdma",), True),
        ({"kind": "decode", "batch": 20, "context_tokens": 2048}, ("decode graph sizes",), False),
        ({"kind": "decode", "batch": 256, "context_tokens": 2048}, (), True),
    ],
)
def test_what_a_value_rests_on_is_said(shipped, columns, mechanisms, outside):
    (found,) = predict(shipped, [point(**columns)])
    assert found.mechanisms == mechanisms
    assert found.extrapolated is outside


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"kind": "prefil"}, "points.csv:2: kind='prefil' .* did you mean 'prefill'"),
        ({"arm": "p-ful", "transport": "tcp"}, "unknown arm 'p-ful' .* did you mean 'p-full'"),
        ({"arm": "p-full"}, "transport='none' with arm='p-full'; expected nvlink, tcp or rdma"),
        ({"transport": "tcp"}, "expected none"),
        ({"cached_tokens": -1}, "cached_tokens=-1, expected a finite number"),
        ({"cached_tokens": "many"}, "cached_tokens='many' is not a number"),
        ({"cached_tokens": "nan"}, "finite"),
        ({"new_tokens": True}, "new_tokens=True, expected a finite number"),
        ({"new_tokens": 1e308}, r"points.csv:2: new_tokens: given 1e\+308, more than the limit tokens"),
        ({"cached_tokens": 2**24 + 1}, "limit tokens = 16,777,216"),
        ({"prefill_cached_tokens": "1e9", "arm": "p-full", "transport": "tcp"}, "limit tokens"),
        ({"kind": "decode", "batch": 1e9, "context_tokens": 1}, "limit batch = 1,000,000"),
        ({"new_tokens": 0}, "new_tokens=0, expected at least 1"),
        ({"kind": "decode", "batch": 4}, "column 'context_tokens' is missing"),
        ({"kind": "stall", "batch": 0, "context_tokens": 1}, "batch=0, expected at least 1"),
        ({"prefill_cached_tokens": 4352, "arm": "p-full", "transport": "tcp"}, "covers the whole prompt of 4352"),
    ],
)
def test_a_wrong_point_is_named_by_its_line(columns, words):
    with pytest.raises(InputError, match=words):
        point(**columns)


def test_csv_and_jsonl_give_the_same_points(tmp_path):
    records = [
        {"kind": "prefill", "arm": "append-d", "transport": "none", "cached_tokens": "0", "new_tokens": "64"},
        {"kind": "prefill", "arm": "p-full", "transport": "tcp", "cached_tokens": "64", "new_tokens": "64"},
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    (tmp_path / "p.csv").write_text(text.getvalue())
    (tmp_path / "p.jsonl").write_text("\n".join(json.dumps(r) for r in records))
    assert list(read_points(tmp_path / "p.csv")) == list(read_points(tmp_path / "p.jsonl"))


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "p.csv").write_text("kind,arm\n")
    with pytest.raises(InputError, match="no points"):
        list(read_points(tmp_path / "p.csv"))


def test_a_hand_off_that_the_profile_lacks_is_named(shipped):
    thin = shipped.model_copy(update={"curves": tuple(c for c in shipped.curves if c.transport is not Transport.RDMA)})
    with pytest.raises(ProfileError, match="rdma"):
        check(thin, point(arm="p-full", transport="rdma"))
    with pytest.raises(ProfileError, match="rdma"):
        list(predict(thin, [point(arm="p-full", transport="rdma")]))


def test_points_are_predicted_as_they_come(shipped):
    found = predict(shipped, itertools.repeat(point()))
    first = next(found)
    assert all(value == first for value in itertools.islice(found, 2 * BLOCK_POINTS))


def test_a_long_prompt_beside_short_ones_changes_none_of_them(shipped):
    short, long = point(), point(new_tokens=2_000_000)
    check(shipped, long)
    assert list(predict(shipped, [short, long, short]))[::2] == list(predict(shipped, [short, short]))


def test_a_prompt_of_too_many_chunks_is_refused(shipped):
    small = shipped.model_copy(update={"chunked_prefill_size": 1})
    with pytest.raises(InputError, match="limit prompt_chunks = 20,000"):
        check(small, point(new_tokens=20_000))


def test_the_printed_interval_holds_the_central_nine_tenths_of_the_draws(shipped):
    """201 draws of a decode step's floor, 5.00 to 7.00 ms, and no misfit: 10 lie below the interval and 10 above it."""
    steps = np.linspace(5e-3, 7e-3, 201)
    record = shipped.curve("decode")
    fixed = {"row_s": 0.0, "context_s_per_token": 1e-9, "start_s": 0.0}
    parameters = tuple(
        p.model_copy(update={"value": 6e-3} if p.name == "floor_s" else {"value": fixed[p.name]})
        for p in record.parameters
    )
    draws = tuple((float(step), *fixed.values()) for step in np.random.default_rng(0).permutation(steps))
    known = record.model_copy(
        update={
            "parameters": parameters,
            "draw_names": ("floor_s", *fixed),
            "draws": draws,
            "misfit": 0.0,
        }
    )
    others = tuple(
        c.model_copy(update={"draws": c.draws and (*c.draws, c.draws[0])}) for c in shipped.curves if c is not record
    )
    synthetic = shipped.model_copy(update={"curves": (known, *others)})
    point = parse_point({"kind": "decode", "batch": 1, "context_tokens": 0}, "here")
    (found,) = predict(synthetic, [point], within_run=True)
    assert (found.low_s, found.predicted_s, found.high_s) == pytest.approx((5.1e-3, 6e-3, 6.9e-3), rel=1e-9)
    inside = np.sum((found.low_s - 1e-12 <= steps) & (steps <= found.high_s + 1e-12))
    assert inside == 181
    # A relative misfit of one sigma widens it in squares of logarithms, about the central value.
    wider = known.model_copy(update={"misfit": 0.2, "draws": tuple((6e-3, *row[1:]) for row in draws)})
    (found,) = predict(synthetic.model_copy(update={"curves": (wider, *others)}), [point], within_run=True)
    assert np.log(found.high_s / found.predicted_s) == pytest.approx(1.645 * 0.2, rel=0.05)
    assert np.log(found.predicted_s / found.low_s) == pytest.approx(1.645 * 0.2, rel=0.05)
