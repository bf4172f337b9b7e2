"""``ppdsim calibrate --only transfer``, small, on the real transfer engine over TCP."""

from __future__ import annotations

import json

import pytest

from ppdsim.calibrate.live.journal import POINTS, read_rows
from ppdsim.cli.app import run

PLAN = """\
schema: ppdsim/plan/1
name: tiny
transfer: {size_bytes: [65536, 1048576, 8388608], blocks: [1, 16]}
repeats: {least: 2, most: 2, half_width: 0.02}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, require):
    require("python:mooncake.engine")
    path = tmp_path_factory.mktemp("transfer")
    (path / "tiny.yaml").write_text(PLAN)
    assert (
        run(["calibrate", "--only", "transfer", "--plan", str(path / "tiny.yaml"), "-o", str(path / "out"), "-q"]) == 0
    )
    return path


def test_every_cell_was_measured_and_the_curve_has_intervals(folder):
    rows = read_rows(folder / "out")
    assert len({row.cell for row in rows}) == 6
    assert all(row.transfer_s > 0 and row.memory == "host" for row in rows)
    found = json.loads((folder / "out" / "wire.json").read_text())
    assert found["cells"] == 6
    for entry in found["parameters"].values():
        assert 0.0 <= entry["low"] <= entry["high"]
        assert entry["unit"]
    # Loopback is somewhere between 10 MB/s and 100 GB/s.
    assert 1e-11 < found["parameters"]["byte_s"]["value"] < 1e-7


def test_resuming_a_finished_run_adds_nothing(folder, capsys):
    before = (folder / "out" / POINTS).read_bytes()
    command = ["calibrate", "--only", "transfer", "--plan", str(folder / "tiny.yaml"), "-o", str(folder / "out")]
    assert run([*command, "--resume"]) == 0
    assert (folder / "out" / POINTS).read_bytes() == before
    assert "tcp, host memory:" in capsys.readouterr().out
    assert run(command) == 2
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--only", "transfers"], "did you mean 'transfer'"),
        (["--only", "transfer", "--transport", "tpc"], "did you mean 'tcp'"),
        (["--only", "transfer", "--gpus", "0"], "expected the numbers of two GPUs"),
        ([], "--model: not given"),
    ],
)
def test_bad_input_is_one_line_and_2(extra, message, tmp_path, capsys):
    assert run(["calibrate", "-o", str(tmp_path / "out"), *extra]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()
