"""The measurement format: what is refused as impossible, what is an error, and by which line it is named."""

from __future__ import annotations

import gzip
import hashlib
import json

import pytest
from fit.grids import TRUTH, rows, write

from ppdsim import measurements
from ppdsim.errors import MeasurementError

GOOD = rows(TRUTH, repeats=1)
PREFILL = next(r for r in GOOD if r["kind"] == "prefill" and r["cached_tokens"] == 1024)
DECODE = next(r for r in GOOD if r["kind"] == "decode")
INTERFERENCE = next(r for r in GOOD if r["kind"] == "interference")
LOAD = {
    "kind": "load", "run": "light", "arm": "append-d", "transport": "none", "conversation_id": "0", "turn": 1,
    "sent_s": 3.0, "cached_tokens": 1024, "new_tokens": 64, "output_tokens": 9, "ttft_s": 0.02, "tpot_s": 0.005,
    "itl_max_s": 0.006, "e2e_s": 0.06, "finish_reason": "length",
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "changes", "reason"),
    [
        (PREFILL, {"ttft_s": -0.1}, "negative time ttft_s"),
        (PREFILL, {"found_cached_tokens": 9999}, "above the prompt of 1088 tokens"),
        (PREFILL, {"found_cached_tokens": 960}, "intended 1024"),
        (PREFILL, {"finish_reason": "abort"}, "expected 'length'"),
        (PREFILL, {"ttft_s": 0.001}, "below the hardware's floor of 0.003127 s"),
        (PREFILL, {"new_tokens": 8192, "ttft_s": 0.1}, "below the hardware's floor of 0.115632 s"),
        (DECODE, {"itl_median_s": 0.001}, "below the weight-read floor"),
        (DECODE, {"window_s": -1.0}, "negative time window_s"),
        (INTERFERENCE, {"stall_gap_s": [0.1, -0.1, 0.1]}, "negative time stall_gap_s"),
        (INTERFERENCE, {"all_running": False}, "not all streams were running"),
        (INTERFERENCE, {"found_cached_tokens": [10**6] * 3}, "above the prompt"),
        (LOAD, {"finish_reason": "abort", "ttft_s": None}, "expected 'length' or 'stop'"),
        (LOAD, {"ttft_s": 0.001}, "ttft_s=0.001000 is below the hardware's floor"),
        (LOAD, {"ttft_s": None, "e2e_s": 0.001}, "e2e_s=0.001000 is below the hardware's floor"),
        (LOAD, {"prompt_tokens": 1000}, "cached_tokens=1024 is above the prompt of 1000 tokens"),
        (LOAD, {"prompt_tokens": 2000}, "new_tokens=64, but 976 of the prompt are not cached"),
        (LOAD, {"server": {"queue_s": -1.0}}, "negative time queue_s=-1.0 of server"),
    ],
)
def test_an_impossible_row_is_refused_by_number_and_reason(tmp_path, row, changes, reason):
    measured = measurements.read(write(tmp_path / "m", [GOOD[0], {**row, **changes}]))
    assert len(measured.refused) == 1
    assert measured.refused[0].row == 2
    assert reason in measured.refused[0].reason
    assert "1 refused" in measured.describe()


def test_a_turn_of_a_load_may_lack_what_its_record_does_not_know(tmp_path):
    unknown = ("conversation_id", "turn", "sent_s", "ttft_s", "tpot_s", "itl_max_s", "e2e_s", "finish_reason")
    counted = {k: v for k, v in LOAD.items() if k not in unknown}
    uncounted = {k: v for k, v in counted.items() if k not in ("cached_tokens", "new_tokens")} | {"prompt_tokens": 7}
    measured = measurements.read(write(tmp_path / "m", [LOAD, counted, uncounted]))
    assert measured.refused == ()
    assert [row.prompt_tokens for row in measured.load] == [1088, 1088, 7]
    assert [row.ttft_s for row in measured.load] == [0.02, None, None]
    assert [(row.conversation_id, row.turn, row.sent_s, row.ttft_s) for row in measured.played] == [("0", 1, 3.0, 0.02)]
    with pytest.raises(MeasurementError, match="missing key 'prompt_tokens'"):
        measurements.parse_row({k: v for k, v in uncounted.items() if k != "prompt_tokens"}, where="x")


def test_the_floor_is_the_weight_read_or_the_flops(tmp_path):
    manifest = measurements.read(write(tmp_path / "m", GOOD[:1])).manifest
    assert manifest.floor.weight_read_s == pytest.approx(2 * (6.98e9 + 5.25e8) / 4.8e12)
    assert manifest.floor.first_token_s(8192) == pytest.approx(2 * 6.98e9 * 8192 / 9.89e14)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({**PREFILL, "kind": "prefil"}, "kind='prefil' is not one of prefill, .*; did you mean 'prefill'"),
        ({**PREFILL, "ttft": 0.1}, "unknown key 'ttft'; did you mean 'ttft_s'"),
        ({k: v for k, v in PREFILL.items() if k != "ttft_s"}, "missing key 'ttft_s'"),
        ({**PREFILL, "ttft_s": "soon"}, "'ttft_s' = 'soon'"),
        ([1, 2], "expected an object with a 'kind', got list"),
    ],
)
def test_a_malformed_line_is_an_error_with_its_number(tmp_path, record, words):
    folder = write(tmp_path / "m", [GOOD[0], record])
    with pytest.raises(MeasurementError, match=f"points.jsonl:2: {words}"):
        measurements.read(folder)


def test_broken_json_is_an_error_with_its_number(tmp_path):
    folder = write(tmp_path / "m", [GOOD[0]])
    text = (folder / "points.jsonl").read_text() + "{nonsense\n"
    (folder / "points.jsonl").write_text(text)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["points_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MeasurementError, match=r"points.jsonl:2: malformed JSON"):
        measurements.read(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"gpus": 2}, "unknown key 'gpus'; did you mean 'gpu'"), ({"date": None}, "'date' = None"), ({}, "no manifest")],
)
def test_a_wrong_manifest_names_its_key(tmp_path, changes, words):
    folder = write(tmp_path / "m", GOOD[:1], **changes)
    if not changes:
        (folder / "manifest.json").unlink()
    with pytest.raises(MeasurementError, match=words):
        measurements.read(folder)


@pytest.mark.parametrize("name", ["../points.jsonl", "{tmp}/points.jsonl", "sub/points.jsonl", "..", ".", "", "link"])
def test_points_outside_the_folder_are_not_read(tmp_path, name):
    inside = write(tmp_path / "m", GOOD[:1])
    text = (inside / "points.jsonl").read_bytes()
    (tmp_path / "points.jsonl").write_bytes(text)
    (inside / "sub").mkdir()
    (inside / "sub" / "points.jsonl").write_bytes(text)
    (inside / "link").symlink_to(tmp_path / "points.jsonl")
    (inside / "near").symlink_to(inside / "points.jsonl")
    known = hashlib.sha256(text).hexdigest()
    folder = write(inside, GOOD[:1], points_file=name.format(tmp=tmp_path), points_sha256=known)
    with pytest.raises(MeasurementError, match="points_file '.*', expected a file in that folder|which is not there"):
        measurements.read(folder)
    assert len(measurements.read(write(inside, GOOD[:1], points_file="near", points_sha256=known)).prefill) == 1


def test_csv_and_gz_read_as_jsonl_does(tmp_path):
    plain = measurements.read(write(tmp_path / "plain", [DECODE, INTERFERENCE]))
    fields = list({**DECODE, **INTERFERENCE})

    def cell(value):
        return ";".join(map(str, value)) if isinstance(value, list) else str(value)

    lines = [",".join(fields)]
    lines += [",".join(cell(row[f]) if f in row else "" for f in fields) for row in (DECODE, INTERFERENCE)]
    packed = gzip.compress("\n".join(lines).encode())
    folder = tmp_path / "csv"
    write(folder, [], points_file="points.csv.gz", points_sha256=hashlib.sha256(packed).hexdigest())
    (folder / "points.csv.gz").write_bytes(packed)
    found = measurements.read(folder)
    assert found.decode == plain.decode
    assert found.interference == plain.interference


def test_the_json_schema_knows_every_kind():
    text = json.dumps(measurements.json_schema())
    for kind in measurements.KINDS:
        assert f'"{kind}"' in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"new_tokens": True}, r"points.jsonl:1: 'new_tokens' = True: expected a number"),
        ({"ttft_s": True}, r"'ttft_s' = True: expected a number"),
        ({"output_tokens": False}, r"'output_tokens' = False: expected a number"),
    ],
)
def test_true_is_no_number(tmp_path, changes, words):
    with pytest.raises(MeasurementError, match=words):
        measurements.parse_row({**PREFILL, **changes}, where="points.jsonl:1")
    assert measurements.parse_row({**INTERFERENCE, "all_running": True}, where="x").all_running


@pytest.mark.parametrize("value", [-1, 0, True, 1e308, "64", 4096.5, 2**40])
@pytest.mark.parametrize("key", ["page_size_tokens", "kv_pool_tokens", "tensor_parallel_size"])
def test_a_count_of_the_manifest_is_one(tmp_path, key, value):
    folder = write(tmp_path / "m", GOOD[:1])
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, key: value}))
    with pytest.raises(MeasurementError, match=f"manifest.json: '{key}' = "):
        measurements.read(folder)


def test_a_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(MeasurementError, match="points.jsonl: no rows"):
        measurements.read(write(tmp_path / "m", []))
