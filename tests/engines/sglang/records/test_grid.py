"""The converter of recorded grids keeps every field that means something and refuses what it does not know."""

from __future__ import annotations

import gzip
import json

import pytest
from fit.grids import MANIFEST

from ppdsim import measurements
from ppdsim.engines.importing import import_records
from ppdsim.engines.records.deployment import Deployment
from ppdsim.errors import MeasurementError
from ppdsim.types import Arm

# Two rows of the recorded grid, shortened to four digits, and one of each other kind.
SERVER = {
    "num_retractions": 0,
    "forward_entry_time": 1000.0008,
    "prefill_finished_time": 1000.0104,
    "queue_time": 0.0002,
    "completion_tokens": 4,
    "e2e_latency": 0.0248,
    "request_received_ts": 1000.0,
    "api_server_dispatch_finish_ts": 1000.0002,
    "response_sent_to_client_ts": 1000.0113,
    "request_finished_ts": 1000.0248,
    "decode_throughput": 219.96,
}
U = {
    "kind": "prefill", "arm": "U", "tag": "A", "L": 0, "m": 64, "rep": 0, "ok": True, "ttft": 0.013, "cached": 0,
    "itl": 0.0045, "srv": SERVER, "t": 2.2,
}  # fmt: skip
PD = {**U, "arm": "PDfull_tcp", "ttft": 0.0227, "srv": {**SERVER, "prefill_finished_time": 721.0}}
DECODE = {
    "kind": "decode", "arm": "U", "tag": "A", "B": 16, "ctx": 512, "ok": True, "n": 63, "itl_med": 0.0048,
    "itl_mean": 0.0047, "window": 0.3, "t": 45.2,
}  # fmt: skip
INTERFERE = {
    "kind": "interfere", "arm": "U", "tag": "A", "B": 8, "ctx": 2048, "L": 0, "m": 256, "ttft": [0.02, 0.019, 0.021],
    "cached": [0, 0, 0], "stall_max": [0.0104, 0.0105, 0.0099], "win_sum": [0.1267, 0.1274, 0.1276],
    "win_n": [22.0, 22.0, 22.0], "itl_base": 0.0055, "all_running": True, "ok": True, "t": 133.0,
}  # fmt: skip


def import_grid(path, manifest, folder):
    return import_records([path], manifest, folder, said=Deployment())[2]


def source(tmp_path, *records):
    path = tmp_path / "grid.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(json.dumps(r) for r in records).encode()))
    return path


def test_rows_keep_their_values_and_gain_units(tmp_path):
    import_grid(source(tmp_path, U, {**U, "rep": 1}, PD, DECODE, INTERFERE), MANIFEST, tmp_path / "m")
    found = measurements.read(tmp_path / "m")
    one, two, pd = found.prefill
    assert (one.cached_tokens, one.new_tokens, one.ttft_s, one.repeat, two.repeat) == (0, 64, 0.013, 0, 1)
    assert one.server_prefill_finished_s == pytest.approx(0.0104)
    assert one.server_first_response_s == pytest.approx(0.0113)
    assert one.server_dispatched_s == pytest.approx(0.0002)
    assert (one.prefill_cached_tokens, pd.prefill_cached_tokens) == (None, 0)
    # On a P/D row that timestamp is another machine's clock.
    assert pd.server_prefill_finished_s is None
    assert found.decode[0].generated_tokens == 64.0
    assert found.interference[0].stall_gap_s == (0.0104, 0.0105, 0.0099)
    assert found.manifest.source_sha256


def test_the_hash_of_the_points_is_the_manifests(tmp_path):
    written = import_grid(source(tmp_path, U), MANIFEST, tmp_path / "m")
    assert sorted(p.name for p in written) == ["manifest.json", "points.jsonl.gz"]
    assert measurements.read(tmp_path / "m").manifest.points_file == "points.jsonl.gz"


def test_an_aborted_request_is_refused_when_read(tmp_path):
    import_grid(source(tmp_path, U, {**U, "ok": False}), MANIFEST, tmp_path / "m")
    assert "finish_reason='abort'" in measurements.read(tmp_path / "m").refused[0].reason


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({**U, "kind": "warmup"}, "2: kind='warmup' is not one of"),
        ({**U, "arm": "PDfull_tpc"}, "2: arm='PDfull_tpc' is unknown; did you mean 'PDfull_tcp'"),
        ({k: v for k, v in U.items() if k != "cached"}, "2: a prefill record lacks the field 'cached'"),
    ],
)
def test_what_it_does_not_know_is_named_and_nothing_is_written(tmp_path, record, words):
    with pytest.raises(MeasurementError, match=words):
        import_grid(source(tmp_path, U, record), MANIFEST, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_wrong_manifest_writes_nothing(tmp_path):
    with pytest.raises(MeasurementError, match="missing key 'machine'"):
        import_grid(source(tmp_path, U), {k: v for k, v in MANIFEST.items() if k != "machine"}, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_grid_names_its_own_arms(tmp_path):
    with pytest.raises(MeasurementError, match="a recorded grid names its arms, leave out --arm and --transport"):
        import_records([source(tmp_path, U)], MANIFEST, tmp_path / "m", said=Deployment(arm=Arm.P_FULL))
