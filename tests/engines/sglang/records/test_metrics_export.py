"""--export-metrics-to-file: the server's own times of each request, its session where the client gave one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from engines.sglang.records.recorded import ANYTHING, SAMPLES, imported, rows_of, rows_or_one_line, sample, written
from hypothesis import given
from hypothesis import strategies as st

from ppdsim.engines.records.deployment import Deployment
from ppdsim.engines.records.source import Source
from ppdsim.engines.sglang.records.metrics_export import convert
from ppdsim.errors import MeasurementError
from ppdsim.types import Arm, Transport

UNIFIED, *_ = sample("export_unified.log")
DECODE, *_ = sample("export_decode.log")
FULL = Deployment(arm=Arm.P_FULL)
ROOM = json.loads(DECODE["request_parameters"])["bootstrap_room"]
# P's record of the same request: its part ends with finish length 0 (sglang/srt/disaggregation/prefill.py).
PREFILL = {**DECODE, "id": "p", "completion_tokens": 1, "finish_reason": {"type": "length", "length": 0},
           "queue_time": 0.003}  # fmt: skip


def with_parameters(record, **parameters):
    return {**record, "request_parameters": json.dumps(json.loads(record["request_parameters"]) | parameters)}


def test_the_requests_of_a_unified_server(tmp_path):
    rows = rows_of(tmp_path / "m", SAMPLES / "export_unified.log")
    assert [(row.prompt_tokens, row.cached_tokens, row.new_tokens, row.output_tokens) for row in rows] == [
        (64, 0, 64, 4),
        (64, 0, 64, 4),
        (1000, 0, 1000, 6),
        (1000, 960, 40, 6),
        (200, 0, 200, 1),
        (200, 192, 8, 1),
    ]
    assert {(row.arm, row.transport, row.finish_reason) for row in rows} == {
        (Arm.APPEND_D, Transport.NONE, "length"),
    }
    server = rows[0].server
    assert server.received_unix_s == UNIFIED["request_received_ts"]
    assert server.e2e_s == UNIFIED["e2e_latency"]
    assert server.first_response_s == pytest.approx(0.0141218, abs=1e-7)
    assert server.prefill_finished_s == pytest.approx(0.0122583, abs=1e-7)
    assert (rows[0].retractions, server.decode_tokens_per_s) == (0, UNIFIED["decode_throughput"])


def test_what_the_record_does_not_know_stays_unknown(tmp_path):
    for row in rows_of(tmp_path / "m", SAMPLES / "export_decode.log", said=FULL):
        assert row.ttft_s is row.tpot_s is row.e2e_s is row.itl_max_s is row.sent_s is None
        assert row.conversation_id is row.turn is row.prefill_server is None
        # On a hand-off that timestamp is another machine's clock.
        assert row.server.prefill_finished_s is None


def test_the_two_records_of_the_engine_agree_on_the_same_requests(tmp_path):
    exported = rows_of(tmp_path / "e", SAMPLES / "export_decode.log", said=FULL)
    logged = {
        row.server.request_id: row
        for row in rows_of(tmp_path / "l", SAMPLES / "prefill.log", SAMPLES / "decode.log", said=FULL)
    }
    assert len(exported) == 6
    for row in exported:
        other = logged[row.server.request_id]
        assert (row.prompt_tokens, row.cached_tokens, row.output_tokens) == (
            other.prompt_tokens,
            other.cached_tokens,
            other.output_tokens,
        )
        # The log has two digits of a millisecond.
        assert row.server.queue_s == pytest.approx(other.server.queue_s, abs=0.0000051)
        # The scheduler queued it after the HTTP server had it, and within the request.
        assert 0.0 < other.server.entered_unix_s - row.server.received_unix_s < row.server.e2e_s


def test_a_session_gives_conversation_and_turn(tmp_path):
    later = {**UNIFIED, "request_received_ts": UNIFIED["request_received_ts"] + 60.0}
    records = [
        with_parameters(later, session_id="s"),
        with_parameters(UNIFIED, session_id="s"),
        with_parameters(UNIFIED, session_params={"id": "t", "rid": None}),
        with_parameters(UNIFIED, conversation_id="u"),
        UNIFIED,
    ]
    # The later record's other times would be before it was received.
    records[0] = {k: v for k, v in records[0].items() if not k.endswith(("_time", "_ts")) or k == "request_received_ts"}
    rows = rows_of(tmp_path / "m", written(tmp_path / "x.log", records))
    assert [(row.conversation_id, row.turn) for row in rows] == [
        ("s", 0),
        ("t", 0),
        ("u", 0),
        (None, None),
        ("s", 1),
    ]


def test_a_record_of_p_joins_that_of_d(tmp_path):
    lone = with_parameters(PREFILL, bootstrap_room=5)
    found = imported(tmp_path / "m", written(tmp_path / "x.log", [PREFILL, DECODE, lone]), said=FULL)
    (row,) = found.load
    assert (row.output_tokens, row.server.queue_s, row.prefill_server.queue_s) == (4, DECODE["queue_time"], 0.003)
    assert found.manifest.notes == ("1 records of the prefill server without one of the decode server were left out",)


def test_without_streaming_the_only_response_is_no_first_token(tmp_path):
    (row,) = rows_of(tmp_path / "m", written(tmp_path / "x.log", [with_parameters(UNIFIED, stream=False)]))
    assert row.server.first_response_s is None
    assert row.server.finished_s is not None


def test_without_enable_metrics_tokens_and_latency_are_left(tmp_path):
    bare = {k: v for k, v in UNIFIED.items() if not k.endswith(("_ts", "_time")) and k != "decode_throughput"}
    (row,) = rows_of(tmp_path / "m", written(tmp_path / "x.log", [bare]))
    assert (row.new_tokens, row.server.e2e_s, row.server.received_unix_s) == (64, UNIFIED["e2e_latency"], None)


def test_embeddings_are_counted_and_aborts_refused(tmp_path):
    embedding = {k: v for k, v in UNIFIED.items() if k != "completion_tokens"}
    aborted = {**UNIFIED, "finish_reason": {"type": "abort", "message": "Aborted"}, "queue_time": -1000.0}
    double = {**UNIFIED, "cached_tokens": 128}
    stopped = {**UNIFIED, "finish_reason": {"type": "stop", "matched": 128009}}
    found = imported(tmp_path / "m", written(tmp_path / "x.log", [embedding, aborted, double, stopped]))
    assert found.manifest.notes == ("1 records without completion_tokens (embeddings) were left out",)
    assert [refused.reason for refused in found.refused] == [
        "request ended with finish_reason='abort', expected 'length' or 'stop'",
        "cached_tokens=128 is above the prompt of 64 tokens",
    ]
    assert [row.finish_reason for row in found.load] == ["stop"]


@pytest.mark.parametrize(
    ("records", "said", "words"),
    [
        ([PREFILL], FULL, "records of the prefill server only"),
        ([DECODE, DECODE], FULL, f":2: bootstrap_room={ROOM} is a second record; the first is .*:1"),
        ([DECODE], Deployment(), "give --arm, one of p-delta, p-full"),
        ([UNIFIED, "{"], Deployment(), ":2: malformed JSON"),
        ([UNIFIED, "[]"], Deployment(), ":2: expected a JSON object, got list"),
        ([UNIFIED, {"id": "x"}], Deployment(), ":2: no 'request_parameters', expected a record of SGLang's --export"),
        ([{**UNIFIED, "request_parameters": "{"}], Deployment(), "'request_parameters' is not JSON text"),
        ([{**UNIFIED, "request_parameters": "[]"}], Deployment(), ":1: request_parameters: "),
        ([{**UNIFIED, "prompt_tokens": -1}], Deployment(), "'prompt_tokens' = -1: input should be greater"),
        ([{**UNIFIED, "e2e_latency": math.inf}], Deployment(), "'e2e_latency' = inf"),
    ],
)
def test_a_bad_record_is_one_line_of_help_and_nothing_written(tmp_path, records, said, words):
    with pytest.raises(MeasurementError, match=words):
        imported(tmp_path / "m", written(tmp_path / "x.log", records), said=said)
    assert not (tmp_path / "m").exists()


def converted(record):
    source = Source(path=Path("e.log"), text=json.dumps(record))
    return convert([source], Deployment(arm=Arm.P_FULL, transport=Transport.TCP))


@given(key=st.sampled_from(sorted(DECODE)), value=ANYTHING)
def test_a_damaged_field_is_an_error_of_one_line_or_rows_without_it(key, value):
    for row in rows_or_one_line(lambda: converted({**DECODE, key: value}), "e.log"):
        assert row["output_tokens"] == (value if key == "completion_tokens" else 4)
        assert all(math.isfinite(v) for v in row["server"].values() if isinstance(v, float))


@given(key=st.sampled_from([*sorted(json.loads(DECODE["request_parameters"])), "session_params"]), value=ANYTHING)
def test_a_damaged_parameter_is_an_error_of_one_line_or_the_same_tokens(key, value):
    for row in rows_or_one_line(lambda: converted(with_parameters(DECODE, **{key: value})), "e.log:1: "):
        assert (row["prompt_tokens"], row["output_tokens"]) == (64, 4)


@given(
    tokens=st.tuples(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 10**6)),
    times=st.tuples(st.floats(0.0, 1e3), st.floats(0.0, 1e3), st.floats(1.7e9, 2e9)),
    session=st.none() | st.text(min_size=1).filter(lambda text: text.isprintable()),
)
def test_whatever_the_engine_writes_is_read_back(tokens, times, session):
    record = with_parameters(
        {**DECODE, "prompt_tokens": tokens[0], "completion_tokens": tokens[1], "cached_tokens": tokens[2],
         "queue_time": times[0], "e2e_latency": times[1], "request_received_ts": times[2]}, session_id=session,
    )  # fmt: skip
    (row,) = converted(record).rows
    assert (row["prompt_tokens"], row["output_tokens"], row["cached_tokens"]) == tokens
    assert (row["server"]["queue_s"], row["server"]["e2e_s"], row["server"]["received_unix_s"]) == times
    assert row.get("conversation_id") == session
