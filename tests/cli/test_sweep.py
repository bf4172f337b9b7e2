"""``ppdsim sweep`` and ``ppdsim report``: from a grid to a table, an answer and a page; Ctrl-C, kill and going on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppdsim.cli.app import run

GRID = ["--grid", "routing.policy=always-p,cost-aware", "--grid", "workload.arrivals.rate_per_s=1,2,4"]
SHORT = ["sweep", "one-pair", *GRID, "--seeds", "2", "--set", "workload.conversations=6", "--jobs", "2"]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_is_a_table_an_answer_and_a_page(tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert run([*SHORT, "-o", str(out)]) == 0
    printed = capsys.readouterr()
    rows = table(out)
    assert len(rows) == 12
    assert {(row["routing.policy"], row["seed"]) for row in rows} == {
        (policy, seed) for policy in ("always-p", "cost-aware") for seed in "01"
    }
    assert all(row["label"] == "STABLE" and float(row["ttft_p99_s"]) > 0.0 for row in rows)
    assert printed.out.splitlines()[0].split()[:2] == ["policy", "rate_per_s"]
    assert "routing.policy always-p against cost-aware over workload.arrivals.rate_per_s, by J: " in printed.out
    assert printed.err == f"wrote {out / 'sweep.csv'}\nwrote {out / 'sweep.json'}\n"
    before = (out / "sweep.csv").read_bytes()
    assert run([*SHORT, "-o", str(out), "--by", "goodput_per_s", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["judged_by"] == "goodput_per_s"
    assert answer == json.loads((out / "sweep.json").read_text())
    assert (out / "sweep.csv").read_bytes() == before
    assert run(["report", str(out)]) == 0
    assert capsys.readouterr().err == f"wrote {out / 'report.html'}\n"
    assert "sweep-lines" in (out / "report.html").read_text()
    assert run(["report", str(out), "-o", str(tmp_path / "page.html"), "-q"]) == 0
    assert (tmp_path / "page.html").read_text() == (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--grid", "trnsport=tcp"], 2, "--grid trnsport=tcp: unknown key 'trnsport'"),
        (["--grid", "transport=tcp,nvlnk"], 2, "--grid transport=nvlnk: transport: given 'nvlnk'"),
        (["--set", "trnsport=tcp"], 2, "--set trnsport=tcp: unknown key"),
        (["--by", "ttft_p9_s"], 2, "did you mean 'ttft_p99_s'"),
        (["--cluster", "tcp://127.0.0.1:1"], 2, "--jobs 2 with --cluster tcp://127.0.0.1:1"),
        (["--seeds", "0"], 2, "--seeds"),
        (["--policy", "always-q"], 2, "did you mean 'always-p'"),
        (["--trace", "absent.jsonl"], 2, "absent.jsonl: cannot be read"),
    ],
)
def test_a_wrong_line_ends_before_anything_runs(more, code, message, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert run([*SHORT, "-o", str(out), *more]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_cluster_without_dask_is_3_and_names_the_command(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    command = ["sweep", "one-pair", "--grid", "transport=tcp", "--cluster", "tcp://127.0.0.1:1"]
    assert run([*command, "-o", str(tmp_path / "out")]) == 3
    assert "pip install 'ppdsim[cluster]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_report_of_no_sweep_is_2(tmp_path, capsys) -> None:
    assert run(["report", str(tmp_path)]) == 2
    assert "expected the folder that 'ppdsim sweep" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


LONG = [*SHORT[:-4], "--set", "workload.conversations=40", "--jobs", "2", "-q", "-o"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """Return the table of a sweep that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert run([*LONG, str(folder)]) == 0
    return (folder / "sweep.csv").read_bytes()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_stopped_keeps_its_rows_and_leaves_no_process(stop, whole, tmp_path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "ppdsim", *LONG, str(out)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    until(lambda: len(list((out / "rows").glob("*.json"))) >= 2)
    os.kill(process.pid, stop)
    _, error = process.communicate(timeout=30)
    kept = {path.name: path.read_bytes() for path in (out / "rows").glob("*.json")}
    assert 2 <= len(kept) < 12
    if stop is not signal.SIGKILL:
        assert process.returncode == 130
        assert error == "error: interrupted\n"
        assert len(table(out)) == len(kept)
        assert json.loads((out / "sweep.json").read_text())["missing"] == 12 - len(kept)
    until(lambda: group_is_gone(process.pid))
    assert run([*LONG, str(out)]) == 0
    assert (out / "sweep.csv").read_bytes() == whole
    assert all((out / "rows" / name).read_bytes() == content for name, content in kept.items())


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def until(true, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
