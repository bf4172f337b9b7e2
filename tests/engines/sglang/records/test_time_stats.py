"""Request time stats: the engine's own lines become rows, P and D are joined, what is damaged is named."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
from engines.sglang.records.recorded import SAMPLES, imported, rows_of, rows_or_one_line, written
from hypothesis import given
from hypothesis import strategies as st

from ppdsim.engines.records.deployment import Deployment
from ppdsim.engines.records.source import Source
from ppdsim.engines.sglang.records.time_stats import convert
from ppdsim.errors import MeasurementError
from ppdsim.types import Arm, Transport

FULL = Deployment(arm=Arm.P_FULL)
TCP = Deployment(arm=Arm.P_FULL, transport=Transport.TCP)
UNIFIED = (
    "[2026-11-23 18:12:02] ReqTimeStats(rid=a1, input_len=1000, cached_input_len=960, output_len=6, attempts=0, "
    "type=unified): queue_duration=0.32ms, forward_duration=36.00ms, entry_time=1795457522.595"
)
DECODE = (
    "[2026-11-23 18:25:19] ReqTimeStats(rid=d1, bootstrap_room=7, input_len=64, cached_input_len=0, output_len=4, "
    "attempts=0, type=decode): bootstrap_duration=0.29ms, alloc_wait_duration=1.13ms, transfer_duration=20.18ms, "
    "queue_duration=0.19ms, forward_duration=16.85ms, entry_time=1795458319.142"
)
PREFILL = (
    "[2026-11-23 18:25:19] ReqTimeStats(rid=p1, bootstrap_room=7, input_len=64, cached_input_len=0, output_len=1, "
    "attempts=0, type=prefill): bootstrap_duration=2.13ms, queue_duration=0.35ms, forward_duration=19.00ms, "
    "entry_time=1795458319.142, transfer_speed=0.76 GB/s, transfer_total=8.00 MB"
)


def test_the_lines_of_a_unified_server(tmp_path):
    rows = rows_of(tmp_path / "m", SAMPLES / "unified.log")
    assert [(row.prompt_tokens, row.cached_tokens, row.new_tokens, row.output_tokens) for row in rows[1:5]] == [
        (64, 0, 64, 4),
        (64, 0, 64, 4),
        (1000, 0, 1000, 6),
        (1000, 960, 40, 6),
    ]
    assert {(row.arm, row.transport) for row in rows} == {(Arm.APPEND_D, Transport.NONE)}
    server = rows[1].server
    assert (server.request_id, server.queue_s, server.forward_s) == (
        "cd866373454741afab8901ab0a8af244",
        0.00019,
        0.02513,
    )
    assert server.entered_unix_s == 1795457522.481


def test_what_the_log_does_not_know_stays_unknown(tmp_path):
    for row in rows_of(tmp_path / "m", SAMPLES / "prefill.log", SAMPLES / "decode.log", said=FULL):
        assert row.ttft_s is row.tpot_s is row.e2e_s is row.itl_max_s is row.sent_s is None
        assert row.conversation_id is row.turn is row.finish_reason is None


def test_p_and_d_of_one_request_are_joined_by_their_room(tmp_path):
    found = imported(tmp_path / "m", SAMPLES / "prefill.log", SAMPLES / "decode.log", said=FULL)
    first = found.load[0]
    assert (first.server.request_id, first.prefill_server.request_id) == (
        "bafd018335804b0e84723bfe3110ef52",
        "9783a796a14e4cbdb63f03c6ca0e9559",
    )
    assert (first.server.bootstrap_s, first.server.alloc_wait_s, first.server.transfer_s) == (0.00655, 0.00089, 0.02334)
    assert (first.prefill_server.queue_s, first.prefill_server.forward_s) == (0.00051, 0.02062)
    # 64 tokens of 32 layers x 8 KV heads x 128 x (K and V) x 2 bytes are what the model of the run says it sent.
    assert first.prefill_server.sent_bytes == 64 * 32 * 8 * 128 * 2 * 2
    assert first.prefill_server.sent_bytes_per_s == pytest.approx(0.70 * 2**30)
    joined = [row for row in found.load if row.prefill_server is not None]
    assert len(joined) == 11
    assert len(found.load) == 18
    assert "requests that the servers sent to themselves" in found.manifest.notes[-1]


def test_the_log_of_d_alone_is_enough_and_that_of_p_is_not(tmp_path):
    assert len(rows_of(tmp_path / "m", SAMPLES / "decode.log", said=FULL)) == 18
    with pytest.raises(MeasurementError, match="give the log of the decode server as well"):
        imported(tmp_path / "n", SAMPLES / "prefill.log", said=FULL)
    assert not (tmp_path / "n").exists()


def test_a_packed_log_reads_like_the_plain_one(tmp_path):
    packed = tmp_path / "unified.log.gz"
    packed.write_bytes(gzip.compress((SAMPLES / "unified.log").read_bytes()))
    plain, unpacked = (rows_of(tmp_path / p.suffix, p) for p in (SAMPLES / "unified.log", packed))
    assert plain == unpacked


def test_a_request_of_p_without_one_of_d_is_counted(tmp_path):
    other = PREFILL.replace("bootstrap_room=7", "bootstrap_room=8")
    found = imported(tmp_path / "m", written(tmp_path / "x.log", [PREFILL, other, DECODE]), said=FULL)
    assert (len(found.load), found.manifest.notes) == (
        1,
        ("1 requests of the prefill server without a line of the decode server were left out",),
    )


@pytest.mark.parametrize(
    ("lines", "said", "words"),
    [
        ([DECODE], Deployment(), ":1: the record does not say its arm: give --arm, one of p-delta, p-full"),
        ([DECODE], Deployment(arm=Arm.APPEND_D), "of servers that hand KV off, not of --arm append-d"),
        ([UNIFIED], FULL, "of a unified server, not of --arm p-full"),
        ([UNIFIED], Deployment(transport=Transport.TCP), "leave out --transport"),
        ([DECODE], Deployment(arm=Arm.P_FULL, transport=Transport.NONE), "expected --transport tcp, nvlink or rdma"),
        (["", DECODE, DECODE], FULL, ":3: bootstrap_room=7 is a second line of type=decode; the first is .*:2"),
        ([PREFILL.replace("=64", "=65"), DECODE], FULL, "input_len=64, but 65 on the prefill server"),
        ([DECODE.replace(", bootstrap_room=7", "")], FULL, "type=decode without bootstrap_room cannot be joined"),
        ([UNIFIED[: UNIFIED.index(", entry")]], Deployment(), "no entry_time in the line: was it cut off"),
        ([UNIFIED[:-1]], Deployment(), "'entry_time=1795457522.59' is not how SGLang writes a time"),
        ([UNIFIED[:-40]], Deployment(), "'forward_dur' is not how SGLang writes a time: was the line cut off"),
        ([UNIFIED[:80]], Deployment(), ":1: a ReqTimeStats line that is not of SGLang 0.5.17's form"),
        ([UNIFIED.replace("unified", "Unified")], Deployment(), "type=unified|prefill|decode, then times; got"),
    ],
)
def test_a_bad_log_is_one_line_of_help_and_nothing_written(tmp_path, lines, said, words):
    with pytest.raises(MeasurementError, match=words.replace("|", r"\|")):
        imported(tmp_path / "m", written(tmp_path / "x.log", lines), said=said)
    assert not (tmp_path / "m").exists()


def test_several_links_need_a_choice(tmp_path):
    source = Source(path=Path("d.log"), text=DECODE)
    several = Deployment(arm=Arm.P_DELTA, transports=(Transport.TCP, Transport.NVLINK))
    with pytest.raises(MeasurementError, match="the manifest lists 2 transports: give --transport"):
        convert([source], several)


TOKENS = st.integers(1, 10**6)
MILLISECONDS = st.integers(0, 10**8).map(lambda hundredths: hundredths / 100)


@given(
    rid=st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1).filter(
        lambda text: text.strip() == text and "HEALTH_CHECK" not in text and "_len=" not in text
    ),
    counts=st.tuples(TOKENS, TOKENS, TOKENS),
    times=st.tuples(MILLISECONDS, MILLISECONDS),
    entry=st.integers(0, 10**13).map(lambda milliseconds: milliseconds / 1000),
)
def test_whatever_the_engine_writes_is_read_back(rid, counts, times, entry):
    line = (
        f"[x] ReqTimeStats(rid={rid}, input_len={counts[0]}, cached_input_len={counts[1]}, output_len={counts[2]}, "
        f"attempts=0, type=unified): queue_duration={times[0]:.2f}ms, forward_duration={times[1]:.2f}ms, "
        f"entry_time={entry:.3f}"
    )
    row = convert([Source(path=Path("u.log"), text=line)], Deployment()).rows[0]
    assert (row["prompt_tokens"], row["cached_tokens"], row["output_tokens"]) == counts
    assert row["server"]["request_id"] == rid
    assert math.isclose(row["server"]["queue_s"], times[0] / 1e3)
    assert math.isclose(row["server"]["forward_s"], times[1] / 1e3)
    assert math.isclose(row["server"]["entered_unix_s"], entry)


@given(
    start=st.integers(0, 300),
    length=st.integers(0, 40),
    inserted=st.text(st.characters(exclude_characters="\n"), max_size=20),
    line=st.sampled_from([UNIFIED, DECODE, PREFILL]),
)
def test_a_damaged_line_is_an_error_of_one_line_or_a_whole_row(start, length, inserted, line):
    damaged = line[:start] + inserted + line[start + length :]
    source = Source(path=Path("x.log"), text=damaged + "\n" + DECODE.replace("room=7", "room=9"))
    for row in rows_or_one_line(lambda: convert([source], TCP), "x.log:"):
        assert row["prompt_tokens"] - row["cached_tokens"] == row["new_tokens"]
        assert all(math.isfinite(v) for v in row["server"].values() if isinstance(v, float))
