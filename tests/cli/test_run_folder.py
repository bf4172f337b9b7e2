"""What a command finds at -o: the same run is replaced, another one is refused, --force gives it up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from ppdsim.cli.app import app, run
from ppdsim.cli.run_folder import RECORD, claim
from ppdsim.errors import InputError

PROFILE = "h200x2_llama-3.1-8b_sglang-0.5.17"
MEASURED = "calibration/measurements/h200x1_llama-3.1-8b_sglang-0.5.17"
TURN = '{"conversation_id": 1, "turn": 0, "arrival_s": 0.0, "new_tokens": 100, "output_tokens": 4}\n'

FOLDERS = {
    "crossover": ["cache-rate"],
    "validate": [PROFILE, MEASURED],
    "simulate": ["one-pair"],
    "sweep": ["one-pair", "--grid", "routing.policy=always-p"],
    "capacity": ["one-pair"],
    "calibrate": ["--model", "absent"],
    "import": ["points.csv", "--manifest", "manifest.json"],
}
"""Commands that write a folder, with what they need beside it."""
FILES = {
    "derive": [PROFILE, "--gpu", "H100-SXM"],
    "fit": [MEASURED],
    "predict": [PROFILE, "--points", "points.csv"],
    "report": ["out"],
}
"""Commands that write one file."""


@pytest.fixture
def trace(tmp_path: Path) -> list[str]:
    """Arguments of a run that takes no time."""
    (tmp_path / "t.jsonl").write_text(TURN)
    return ["simulate", "one-pair", "--trace", str(tmp_path / "t.jsonl"), "-q", "-o", str(tmp_path / "out")]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_command_with_an_output_is_in_a_table_here() -> None:
    commands = typer.main.get_command(app).commands
    writing = {name for name, one in commands.items() if any("--out" in p.opts for p in one.params)}
    assert writing == {*FOLDERS, *FILES}
    forced = {name for name in writing if any("--force" in p.opts for p in commands[name].params)}
    assert forced == writing - {"calibrate"}


@pytest.mark.parametrize("command", FOLDERS)
@pytest.mark.parametrize("there", ["another command", "no record"])
def test_the_files_of_another_run_are_refused_before_any_work(command, there, tmp_path, monkeypatch, capsys) -> None:
    out = tmp_path / "out"
    if there == "another command":
        with claim(out, command="other", on="scene", decided_by={}, force=False).writing() as written:
            written.append(out / "result.json")
            written[0].write_text("{}")
    else:
        out.mkdir()
        (out / "turns.csv").write_text("kept")
    before = files(out)
    assert run([command, *FOLDERS[command], "-o", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: -o {out}: holds ")
    assert "give another folder" in line
    assert ("turns.csv" if there == "no record" else "'ppdsim other'") in line
    assert files(out) == before


@pytest.mark.parametrize("command", FILES)
def test_a_file_that_exists_is_refused_before_any_work(command, tmp_path, capsys) -> None:
    file = tmp_path / "there.json"
    file.write_text("kept")
    assert run([command, *FILES[command], "-o", str(file)]) == 2
    assert capsys.readouterr().err == f"error: -o {file}: exists; give another file, or --force to replace it\n"
    assert file.read_text() == "kept"


def test_the_same_run_is_repeated_and_another_is_not(trace, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert run(trace) == 0
    first = files(out)
    assert run(trace) == 0
    assert files(out) == first
    assert run([*trace, "--set", "routing.gamma=3", "--set", "seed=9"]) == 2
    assert capsys.readouterr().err == (
        f"error: -o {out}: holds results of 'ppdsim simulate' of one-pair with other routing.gamma, seed; give another "
        "folder, or --force\n"
    )
    assert files(out) == first


def test_force_leaves_nothing_of_the_other_run_and_all_that_is_not_its(trace, tmp_path) -> None:
    out = tmp_path / "out"
    assert run([*trace, "--policy", "always-p", "--policy", "always-d"]) == 0
    (out / "notes.txt").write_text("mine")
    assert (out / "always-p" / "turns.csv").exists()
    assert run([*trace, "--policy", "always-d", "--force"]) == 0
    assert set(files(out)) == {RECORD, "notes.txt", "summary.json", "turns.csv"}
    assert not (out / "always-p").exists()


def test_files_beside_the_folder_belong_to_the_run(trace, tmp_path, capsys) -> None:
    log = tmp_path / "why.csv"
    logged = [*trace, "--decisions", str(log)]
    assert run(logged) == 0
    assert run(logged) == 0
    assert run([*logged, "--policy", "always-d"]) == 2
    log.unlink()
    assert run([*logged, "--policy", "always-d", "--force"]) == 0
    log.write_text("a file of the user's")
    assert run([*trace[:-1], str(tmp_path / "new"), "--decisions", str(log)]) == 2
    assert f"--decisions {log}: exists" in capsys.readouterr().err
    assert log.read_text() == "a file of the user's"


def test_a_run_that_was_cut_off_can_be_repeated(tmp_path) -> None:
    out = tmp_path / "out"
    begun = claim(out, command="a", on="x", decided_by={"k": 1}, force=False)
    writing = begun.writing()
    written = writing.__enter__()
    written.append(out / "turns.csv")
    written[0].write_text("half")
    assert not writing.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    again = claim(out, command="a", on="x", decided_by={"k": 1}, force=False)
    assert again.earlier == ("turns.csv",)
    with pytest.raises(InputError, match="with other k"):
        claim(out, command="a", on="x", decided_by={"k": 2}, force=False)


def test_a_run_that_wrote_nothing_leaves_nothing(tmp_path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError), claim(out, command="a", on="x", decided_by={}, force=False).writing():
        raise InputError("a line is malformed")
    assert not out.exists()


def test_what_was_interrupted_does_not_remove_what_had_ended(tmp_path) -> None:
    out = tmp_path / "out"
    for name, whole in (("turns.csv", True), ("interrupted/turns.csv", False)):
        with claim(out, command="a", on="x", decided_by={}, force=False).writing(whole=whole) as written:
            written.append(out / name)
            written[0].parent.mkdir(exist_ok=True)
            written[0].write_text("x")
    assert set(files(out)) == {RECORD, "turns.csv", "interrupted/turns.csv"}
    with claim(out, command="a", on="x", decided_by={}, force=False).writing() as written:
        written.append(out / "turns.csv")
    assert set(files(out)) == {RECORD, "turns.csv"}


@pytest.mark.parametrize("name", ["../outside.txt", "/{tmp}/outside.txt", "link/outside.txt", "folder"])
def test_a_record_removes_nothing_outside_its_folder(name, tmp_path) -> None:
    out = tmp_path / "out"
    (out / "folder").mkdir(parents=True)
    (out / "link").symlink_to(tmp_path)
    (tmp_path / "outside.txt").write_text("kept")
    record = {"schema": "ppdsim/run-folder/1", "command": "a", "on": "x", "decided_by": {}}
    (out / RECORD).write_text(json.dumps({**record, "files": [name.format(tmp=tmp_path)]}))
    with claim(out, command="b", on="x", decided_by={}, force=True).writing() as written:
        written.append(out / "new.txt")
    assert (tmp_path / "outside.txt").read_text() == "kept"
    assert (out / "folder").is_dir()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": "ppdsim/run-folder/1"}', "\udcff", '{"files": [1]}'])
def test_a_record_that_cannot_be_read_is_none(text, tmp_path) -> None:
    (tmp_path / RECORD).write_bytes(text.encode(errors="surrogateescape"))
    assert claim(tmp_path, command="a", on="x", decided_by={}, force=False).earlier == ()
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(InputError, match="a run that is not recorded there"):
        claim(tmp_path, command="a", on="x", decided_by={}, force=False)
