"""Results on disk: whole or not at all, csv and parquet alike."""

from __future__ import annotations

import builtins

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
    with pytest.raises(OSError, match="No space left"):
        results.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["turns.csv"]
    assert (tmp_path / "turns.csv").read_text() == "old"
