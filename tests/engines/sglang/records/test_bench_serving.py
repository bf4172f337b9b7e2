"""bench_serving: every request of every run, with what its client measured and nothing that it did not."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from engines.sglang.records.recorded import ANYTHING, imported, rows_of, rows_or_one_line, sample, written
from hypothesis import given
from hypothesis import strategies as st

from ppdsim.engines.records.deployment import Deployment
from ppdsim.engines.records.source import Source
from ppdsim.engines.sglang.records.bench_serving import convert, told_arms
from ppdsim.errors import MeasurementError
from ppdsim.types import Arm, Transport

HANDED_OFF, UNIFIED = sample("bench_serving.jsonl")
FULL = Deployment(arm=Arm.P_FULL, transport=Transport.TCP)


def converted(record, said=FULL):
    return convert([Source(path=Path("b.jsonl"), text=json.dumps(record))], said).rows


def one(**changes):
    """A run of one request on a unified server."""
    base = {
        "backend": "sglang", "duration": 1.0, "input_lens": [100], "output_lens": [3], "ttfts": [0.5],
        "itls": [[0.1, 0.3]], "errors": [""], "generated_texts": ["x"], "server_info": {"disaggregation_mode": "null"},
    }  # fmt: skip
    return {**base, **changes}


def test_the_requests_of_a_run(tmp_path):
    rows = rows_of(tmp_path / "m", written(tmp_path / "b.jsonl", [HANDED_OFF]), said=Deployment(arm=Arm.P_FULL))
    assert [row.prompt_tokens for row in rows] == HANDED_OFF["input_lens"]
    assert [row.output_tokens for row in rows] == HANDED_OFF["output_lens"]
    assert [row.ttft_s for row in rows] == HANDED_OFF["ttfts"]
    assert [row.itl_max_s for row in rows] == [max(gaps) for gaps in HANDED_OFF["itls"]]
    assert (rows[0].cached_tokens, rows[0].new_tokens) == (320, 17)
    assert {(row.run, row.arm, row.transport) for row in rows} == {("pd", Arm.P_FULL, Transport.TCP)}


def test_means_agree_with_the_summary_that_the_client_printed(tmp_path):
    rows = rows_of(tmp_path / "m", written(tmp_path / "b.jsonl", [HANDED_OFF]), said=Deployment(arm=Arm.P_FULL))
    mean = {name: sum(getattr(row, name) for row in rows) / len(rows) for name in ("ttft_s", "tpot_s", "e2e_s")}
    assert mean["ttft_s"] == pytest.approx(HANDED_OFF["mean_ttft_ms"] / 1e3)
    # Its latency ends with the end of the stream, E2E with the last token.
    assert mean["tpot_s"] == pytest.approx(HANDED_OFF["mean_tpot_ms"] / 1e3, rel=0.02)
    assert mean["e2e_s"] == pytest.approx(HANDED_OFF["mean_e2e_latency_ms"] / 1e3, rel=0.02)


def test_what_the_record_does_not_know_stays_unknown(tmp_path):
    rows = rows_of(tmp_path / "m", written(tmp_path / "b.jsonl", [UNIFIED]))
    assert {(row.arm, row.transport) for row in rows} == {(Arm.APPEND_D, Transport.NONE)}
    for row in rows:
        assert row.cached_tokens is row.new_tokens is row.sent_s is row.finish_reason is None
        assert row.conversation_id is row.turn is row.server is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"ttft_s": 0.5, "tpot_s": 0.2, "itl_max_s": 0.3, "e2e_s": 0.9}),
        # One chunk with the whole answer: when the first token was there is not known.
        ({"itls": [[]]}, {"e2e_s": 0.5}),
        ({"itls": [[]], "output_lens": [1]}, {"ttft_s": 0.5, "e2e_s": 0.5}),
        # The client waits for text; of an engine without a tokenizer it sees none.
        ({"itls": [[]], "ttfts": [0.0]}, {}),
        ({"errors": ["Internal Server Error"], "output_lens": [0], "ttfts": [0.0], "itls": [[]]}, {}),
    ],
)
def test_times_of_one_request(changes, expected):
    (row,) = converted(one(**changes), Deployment())
    found = {name: row[name] for name in ("ttft_s", "tpot_s", "itl_max_s", "e2e_s") if name in row}
    assert found == pytest.approx(expected)


def test_a_failed_request_is_refused_and_an_empty_answer_counted(tmp_path):
    record = one(input_lens=[9, 9, 9], output_lens=[0, 0, 2], ttfts=[0.0, 0.0, 0.2], itls=[[], [], [0.1]],
                 errors=["Bad Gateway", "", ""])  # fmt: skip
    found = imported(tmp_path / "m", written(tmp_path / "b.jsonl", [record]))
    assert [refused.reason for refused in found.refused] == [
        "request ended with finish_reason='abort', expected 'length' or 'stop'"
    ]
    assert found.manifest.notes == ("1 answers without a token were left out",)
    assert [row.run for row in found.load] == ["b-0"]


@pytest.mark.parametrize(
    ("info", "arms"),
    [
        (None, set(Arm)),
        ({"disaggregation_mode": "null"}, {Arm.APPEND_D}),
        ({"disaggregation_mode": "decode"}, set(Arm)),
        ({"decode": [{"disaggregation_decode_enable_radix_cache": False}]}, {Arm.P_FULL}),
        ({"decode": [{"disaggregation_decode_enable_radix_cache": True}]}, {Arm.P_DELTA}),
        ({"prefill": [{}], "decode": [{"version": "0.5.5"}]}, {Arm.P_FULL, Arm.P_DELTA}),
    ],
)
def test_the_arm_that_the_recorded_server_tells(info, arms):
    assert told_arms(info) == arms


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            {k: v for k, v in HANDED_OFF.items() if k in ("backend", "duration", "mean_ttft_ms")},
            "with --output-details",
        ),
        (
            {k: v for k, v in UNIFIED.items() if k != "ttfts"},
            ":1: no 'ttfts', expected a run of SGLang's bench_serving",
        ),
        (one(ttfts=[0.5, 0.5]), r"differ in length \(input_lens 1, output_lens 1, ttfts 2"),
        (one(cached_tokens=[]), "cached_tokens 0"),
        (one(input_lens=["100"]), "'input_lens.0' = '100': input should be a valid integer"),
        (one(ttfts=[math.nan]), "'ttfts.0' = nan"),
        (one(itls=[[math.inf]]), "'itls.0.0' = inf"),
        (one(output_lens=[10**30]), r"'output_lens.0' = 1e\+30"),
        (one(server_info=None), "does not say its arm: give --arm, one of append-d, p-delta, p-full"),
    ],
)
def test_a_bad_run_is_one_line_of_help(record, words):
    with pytest.raises(MeasurementError, match=words):
        converted(record, Deployment())


SECONDS = st.floats(1e-6, 1e3)


@given(
    st.lists(
        st.tuples(st.integers(1, 10**6), st.lists(SECONDS, max_size=6), SECONDS, st.integers(0, 10**6)), min_size=1
    )
)
def test_whatever_the_client_writes_is_read_back(turns):
    record = one(
        input_lens=[prompt for prompt, *_ in turns],
        output_lens=[len(gaps) + 1 for _, gaps, *_ in turns],
        ttfts=[first for *_, first, _ in turns],
        itls=[gaps for _, gaps, *_ in turns],
        errors=[""] * len(turns),
        cached_tokens=[cached for *_, cached in turns],
    )
    for row, (prompt, gaps, first, cached) in zip(converted(record, Deployment()), turns, strict=True):
        assert (row["prompt_tokens"], row["new_tokens"] + cached, row["output_tokens"]) == (
            prompt,
            prompt,
            len(gaps) + 1,
        )
        assert row["ttft_s"] == first
        assert row["e2e_s"] == pytest.approx(first + sum(gaps))
        assert ("tpot_s" in row) == bool(gaps)


@given(key=st.sampled_from(sorted(one() | {"cached_tokens": 0, "tag": 0})), value=ANYTHING)
def test_a_damaged_field_is_an_error_of_one_line_or_rows_without_it(key, value):
    source = Source(path=Path("b.jsonl"), text=json.dumps({**one(), key: value}))
    for row in rows_or_one_line(lambda: convert([source], FULL), "b.jsonl:1: "):
        assert row["prompt_tokens"] >= 0
        assert all(math.isfinite(v) for v in row.values() if isinstance(v, float))
