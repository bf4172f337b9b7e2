"""Results on disk: whole or not at all, csv and parquet alike."""

from __future__ import annotations

import builtins
import sys
from dataclasses import replace

import numpy as np
import pytest
from des.costs import cost_model, fleet, talk

from ppdsim.des.cluster import run_cluster
from ppdsim.errors import EnvironmentProblem
from ppdsim.results import TURN_COLUMNS
from ppdsim.routing import AlwaysP


@pytest.fixture(scope="module")
def results():
    return run_cluster(fleet("P D", cost_model()), [talk(i, 0.1 * i, (100, 1 + i)) for i in range(5)], AlwaysP())


def test_in_words_it_says_the_label_the_latencies_and_the_throughput(results):
    words = str(results)
    assert words.startswith("STABLE: 5 turns (5 ok); 100% p-full")
    for name in ("TTFT", "TPOT", "ITL", "E2E", "KV TRANSFER"):
        assert f"\n{name}" in words
    assert "turns/s; 100.0% of the offered turns meet the SLO" in words
    assert "note:" not in words
    assert "note: something" in str(replace(results, notes=("something",)))


def test_it_says_what_the_machines_did_and_how_many_turns_lie_outside_what_was_measured(results):
    lines = {line.split()[0]: line for line in str(results).splitlines()}
    summary = results.summary()
    assert f"busy {summary['busy']['prefill']['mean_share']:.0%} of the time; KV pool" in lines["P"]
    assert "0.0% of prompt tokens found cached" in lines["P"]
    # No turn asks D for a prefix, and none is a follow-up turn.
    assert "cached" not in lines["D"]
    assert "follow-up" not in lines["P"] + lines["D"]
    assert lines["LINK"].endswith(f"busy {summary['busy']['link']['mean_share']:.1%} of the time")
    assert lines["STREAMS"].endswith("decoding as a turn arrives: p50 0, p90 0")
    assert lines["OUTSIDE"].endswith("0.0% of the turns lie outside what the profile was measured on")


def test_it_says_what_follow_up_turns_found():
    talks = [talk(i, 0.05 * i, (100, 29), (10, 2, 1.0)) for i in range(3)]
    lines = str(run_cluster(fleet("P pD", cost_model()), talks, AlwaysP())).splitlines()
    (on_p,) = (line for line in lines if line.startswith("P "))
    (on_d,) = (line for line in lines if line.startswith("D "))
    assert on_p.endswith("100% of follow-up turns found their previous prompt (tokens not cached: median 43)")
    assert on_d.endswith("100% of follow-up turns found their previous prompt (tokens not cached: median 11)")


def test_the_summary_is_what_the_columns_say(results):
    summary, turns = results.summary(), results.turns
    span = turns["t_last_token_s"].max() - turns["t_arrival_s"].min()
    assert summary["span_s"] == span
    assert summary["throughput"]["turns_per_s"] == 5 / span
    assert summary["throughput"]["output_tokens_per_s"] == turns["output_tokens"].sum() / span
    assert summary["ttft_s"]["p90"] == np.quantile(turns["ttft_s"], 0.9)
    assert summary["e2e_s"]["mean"] == pytest.approx(turns["e2e_s"].mean())
    assert summary["kv_transfer_s"]["max"] == turns["kv_transfer_s"].max()
    # Percentiles of gaps count every gap once, not every turn.
    assert summary["itl_s"]["max"] == pytest.approx(np.nanmax(turns["itl_max_s"]))
    assert results.itl_counts.sum() == (turns["output_tokens"] - 1).sum()
    assert summary["arms"] == {"p-full": 1.0}


def test_turns_that_queue_for_the_link_count_as_waiting():
    """P keeps up and the link does not: the KV of each turn takes longer than the time to the next."""
    model = cost_model(link={"wire_s_per_token": 1e-3})
    talks = [talk(i, 0.1 * i, (200, 2)) for i in range(100)]
    slow = run_cluster(fleet("P D", model), talks, AlwaysP())
    assert slow.turns["queue_s"].max() < 0.05
    assert slow.summary()["label"] == "OVERLOADED"


def test_a_run_without_an_answer_has_no_numbers_and_says_so(tmp_path):
    spec = fleet("P D", cost_model(), pool=700, num_reserved_decode_tokens=0)
    refused = run_cluster(spec, [talk(0, 0.0, (1000, 4))], AlwaysP())
    summary = refused.summary()
    assert summary["status"]["rejected"] == 1
    assert summary["ttft_s"]["mean"] is None
    assert summary["throughput"]["turns_per_s"] is None
    assert summary["goodput"]["attainment"] == 0.0
    assert "no turn finished" in str(refused)
    refused.save(tmp_path)
    row = (tmp_path / "turns.csv").read_text().splitlines()[1].split(",")
    assert row[TURN_COLUMNS.index("ttft_s")] == ""
    assert row[TURN_COLUMNS.index("status")] == "rejected"


def test_the_frame_and_the_file_are_the_same(results, tmp_path):
    import pandas as pd

    results.save(tmp_path)
    read = pd.read_csv(tmp_path / "turns.csv")
    frame = results.to_frame()
    assert tuple(read.columns) == TURN_COLUMNS
    for name in ("ttft_s", "e2e_s", "tpot_s", "kv_transfer_s"):
        np.testing.assert_array_equal(read[name], frame[name])
    # One token has no TPOT: an empty cell, not a zero.
    assert np.isnan(read["tpot_s"][0])


def test_a_frame_needs_pandas_and_says_so(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(EnvironmentProblem, match="pandas is not installed, and a frame needs it"):
        results.to_frame()


def test_parquet_needs_pyarrow_and_says_so(results, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentProblem, match="ppdsim\\[parquet\\]"):
        results.save(tmp_path / "out", "parquet")
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_parquet_holds_the_same_columns(results, tmp_path, require):
    require("python:pyarrow")
    import pandas as pd

    results.save(tmp_path, "parquet")
    read = pd.read_parquet(tmp_path / "turns.parquet")
    assert tuple(read.columns) == TURN_COLUMNS
    np.testing.assert_array_equal(read["ttft_s"], results.turns["ttft_s"])


def test_a_failed_write_leaves_what_was_there(results, tmp_path, monkeypatch):
    (tmp_path / "turns.csv").write_text("old")

    def fail(self, path):
        path.write_text("half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(type(results), "_write_csv", fail)
    with pytest.raises(EnvironmentProblem, match=r"turns\.csv: cannot be written \(No space left"):
        results.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["turns.csv"]
    assert (tmp_path / "turns.csv").read_text() == "old"
