"""``ppdsim simulate`` of a scenario with alternatives, and ``ppdsim report`` of what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppdsim.cli.app import run

SMALL = ["--set", "workload.conversations=20", "--set", "seeds=2"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("what-if") / "out"
    assert run(["simulate", "pd-ratio", *SMALL, "-o", str(folder), "--quiet"]) == 0
    return folder


def test_the_answer_comes_first_and_the_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    assert run(["simulate", "pd-ratio", *SMALL, "-o", str(folder)]) == 0
    printed = capsys.readouterr()
    document = json.loads((folder / "alternatives.json").read_text())
    first, second, *table = printed.out.splitlines()
    assert [first, second] == document["answer"]
    assert [line.split()[0] for line in table[1:5]] == ["1P_3D", "2P_2D", "3P_1D", "4U"]
    written = {line.removeprefix("wrote ") for line in printed.err.splitlines()}
    assert written == {str(path) for path in folder.rglob("[!.]*") if path.is_file()}


def test_each_alternative_has_a_folder_with_its_first_run(out: Path) -> None:
    for name in ("1P_3D", "2P_2D", "3P_1D", "4U"):
        summary = json.loads((out / name / "summary.json").read_text())
        assert summary["provenance"]["seed"] == 0
        assert (out / name / "turns.csv").stat().st_size > 0


def test_json_is_the_result_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "pd-ratio", *SMALL, "-o", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "alternatives.json").read_text())


def test_the_report_needs_the_result_file_alone(out: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.html"
    assert run(["report", str(out), "-o", str(again), "--quiet"]) == 0
    assert again.read_bytes() == (out / "report.html").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "always-p", "--policy", "ppd"], "several --policy: scenario 'pd-ratio' has alternatives"),
        (["--decisions", "d.csv"], "--decisions: scenario 'pd-ratio' has alternatives"),
    ],
)
def test_what_alternatives_do_not_go_with_is_refused_before_anything_runs(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    assert run(["simulate", "pd-ratio", *SMALL, "-o", str(folder), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not folder.exists()


def test_the_scenario_runs_without_its_alternatives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = ["--set", "alternatives=[]", "--decisions", str(tmp_path / "why.csv"), "--json"]
    assert run(["simulate", "pd-ratio", *SMALL[:2], *alone, "-o", str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["provenance"]["fleet"] == "2P_2D"
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["summary.json", "turns.csv"]


def test_a_folder_without_a_result_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path)]) == 2
    assert "or a what-if of 'ppdsim simulate' wrote" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
