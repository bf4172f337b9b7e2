"""``ppdsim crossover`` as a command: what it prints, what it writes, and what Ctrl-C leaves."""

from __future__ import annotations

import json

import pytest
from crossover_cases import SMALL, against

from ppdsim.cli.app import run
from ppdsim.crossover import simulation

SETTINGS = [text for setting in (*SMALL, *against("nvlink")) for text in ("--set", setting)]


def test_it_prints_the_answer_and_writes_both_files(tmp_path, capsys):
    assert run(["crossover", "cache-rate", *SETTINGS, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    answer = json.loads((tmp_path / "out" / "crossover.json").read_text())
    assert printed.out == answer["headline"] + "\n"
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["crossover.json", "report.html"]
    assert answer["headline"] in (tmp_path / "out" / "report.html").read_text()
    assert [line.split()[0] for line in printed.err.splitlines()] == ["wrote", "wrote"]


def test_json_and_the_seed_and_a_key(tmp_path, capsys):
    command = ["crossover", "cache-rate", *SETTINGS, "--set", "crossover.residents=16", "--seed", "7", "--json", "-q"]
    assert run([*command, "-o", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert answer["residents"] == 16
    assert ["seed", "7"] in answer["settings"]
    assert not printed.err


def test_ctrl_c_keeps_what_the_formulas_found(tmp_path, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(simulation, "_with_simulation", stop)
    assert run(["crossover", "cache-rate", *SETTINGS, "-o", str(tmp_path)]) == 130
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["formulas-only.json"]
    kept = json.loads((tmp_path / "formulas-only.json").read_text())
    assert kept["headline"].startswith("Appending 256 tokens")
    assert not kept["curves"][0]["simulated_j_s"]
    assert capsys.readouterr().err.splitlines()[-1] == "error: interrupted"


@pytest.mark.parametrize("name", ["cache-rate"])
def test_another_profile_is_used(tmp_path, capsys, name, repository):
    shipped = repository / "calibration/profiles/h200x2_llama-3.1-8b_sglang-0.5.17.json"
    other = tmp_path / "other.json"
    other.write_text(shipped.read_text().replace('"id": "h200x2', '"id": "other', 1))
    out = tmp_path / "out"
    assert run(["crossover", name, *SETTINGS, "--profile", str(other), "-o", str(out), "-q"]) == 0
    assert json.loads((out / "crossover.json").read_text())["profile"]["id"].startswith("other")
