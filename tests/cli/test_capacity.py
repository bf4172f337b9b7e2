"""``ppdsim capacity``: a sentence, capacity.json, and the exit codes of the house."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pytest

from ppdsim.cli.app import run

SMALL = ["capacity", "one-pair", "--set", "workload.conversations=30", "--seeds", "1"]


def test_it_says_the_rate_and_what_binds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run([*SMALL, "-o", str(out)]) == 0
    printed = capsys.readouterr()
    assert "conversations/s keep 90% of the turns within TTFT 500 ms, TPOT 25 ms" in printed.out
    assert "per GPU (2 GPUs)" in printed.out
    assert "At a higher rate, " in printed.out
    assert printed.err == f"wrote {out / 'capacity.json'}\nwrote {out / 'report.html'}\n"
    assert sorted(path.name for path in out.glob("[!.]*")) == ["capacity.json", "report.html"]
    page = (out / "report.html").read_text()
    assert printed.out.splitlines()[0] in html.unescape(page)
    assert run(["report", str(out), "-o", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text() == page
    capsys.readouterr()
    assert run([*SMALL, "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "capacity.json").read_text())


def test_no_rate_is_exit_code_1_with_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SMALL, "--slo", "ttft_ms=1", "-o", str(tmp_path / "out"), "--quiet"]) == 1
    assert capsys.readouterr().err == "error: no arrival rate keeps the SLO\n"
    assert json.loads((tmp_path / "out" / "capacity.json").read_text())["kind"] == "none"


def test_a_folder_of_something_else_is_one_line_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "capacity.json").write_text('{"schema": "ppdsim/capacity/1"}')
    assert run(["report", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "capacity.json: answer: " in line
    assert "run 'ppdsim capacity' again" in line


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--slo", "ttft=500"], "did you mean 'ttft_ms'"),
        (["--attained", "90"], "--attained 90.0"),
        (["--seeds", "0"], "--seeds 0"),
        (["--policy", "always-q"], "did you mean 'always-"),
    ],
)
def test_bad_input_is_one_line_and_2(extra, message, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SMALL, "-o", str(tmp_path / "out"), *extra]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_scenario_without_a_workload_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["capacity", "cache-rate", "--slo", "ttft_ms=500", "-o", str(tmp_path / "out")]) == 2
    assert "--trace FILE" in capsys.readouterr().err
