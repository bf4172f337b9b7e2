"""``ppdsim scenarios`` and ``ppdsim profiles``: complete, and undisturbed by a broken file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppdsim import library
from ppdsim.cli.app import run


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PPDSIM_LIBRARY", str(tmp_path))
    return tmp_path


def test_scenarios_as_json(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenarios", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in listed] == list(library.installed("scenario"))
    assert all(row["question"] and row["run_time"] for row in listed)


def test_scenarios_for_people(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenarios"]) == 0
    printed = capsys.readouterr().out
    assert "one-pair" in printed
    assert "run time: about" in printed


def test_profiles_as_json(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profiles", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in listed] == list(library.installed("profile"))
    keys = {"id", "machine", "model", "engine", "link", "date", "errors"}
    assert all(keys <= set(row) for row in listed)
    assert any("h200x2" in row["id"] for row in listed)
    assert all(error["median"] <= error["p90"] for row in listed for error in row["errors"].values())


def test_profiles_for_people(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profiles"]) == 0
    entries = capsys.readouterr().out.split("\nh")
    assert "short: h100" in entries[0]
    assert "short: h200" in entries[1]
    for text in entries:
        assert "take it for   " in text
        assert "KV pool       " in text
        assert ("origin        measured 20" in text) is ("_derived" not in text.splitlines()[0])


@pytest.mark.parametrize(("kind", "file"), [("scenarios", "broken.yaml"), ("profiles", "broken.json")])
def test_a_broken_file_is_named_and_left_out(
    own: Path, kind: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / kind).mkdir()
    (own / kind / file).write_text("{")
    assert run([kind, "--json"]) == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)) == len(library.installed(kind.removesuffix("s"))) - 1
    assert f"left out: {own / kind / file}" in printed.err
