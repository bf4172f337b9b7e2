"""The frame of the command line: help, errors in one line, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ppdsim import __version__
from ppdsim.cli import app as app_module
from ppdsim.cli.app import COMMANDS, run
from ppdsim.errors import EnvironmentProblem, GateError, InputError


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch):
    """Put a command that raises into an app of its own, in the place of the real one."""

    def plant(problem: BaseException) -> None:
        application = typer.Typer()

        @application.command()
        def fails() -> None:
            raise problem

        monkeypatch.setattr(app_module, "app", application)

    return plant


def typed(name: str) -> str:
    """Return a command as it is typed."""
    return name.rstrip("_").replace("_", "-")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(typed(name) in printed for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = typed(name)
    assert run([command, "--help"]) == 0
    assert f"Example: ppdsim {command}" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_printed_as_it_is_written(name: str) -> None:
    """Rich takes what stands in square brackets for a style and prints nothing of it."""
    found = typer.main.get_command(app_module.app).commands[typed(name)]
    assert "[" not in found.help
    assert not [parameter.name for parameter in found.params if "[" in (parameter.help or "")]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"ppdsim {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scenario"], "error: No such command 'scenario'. Did you mean 'scenarios'? (see 'ppdsim --help')\n"),
        (["scenarios", "--jso"], "--json"),
        (["simulate"], "error: Missing argument"),
        (["simulate", "one-pair", "--seed", "x"], "--seed"),
        (["simulate", "one-pear"], "did you mean 'one-pair'"),
        (["simulate", "one-pair", "--set", "trnsport=tcp"], "did you mean 'transport'"),
        (["simulate", "one-pair", "--trace", "absent.jsonl"], "error: absent.jsonl: cannot be read"),
    ],
)
def test_wrong_input_is_one_line_and_2(
    arguments, message, capsys: pytest.CaptureFixture[str], tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_file_in_the_place_of_the_folder_is_refused(out, capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    (tmp_path / "file").write_text("kept")
    assert run(["simulate", "one-pair", "-o", str(tmp_path / out)]) == 2
    assert "file is a file, expected a folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "kept"


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("problem", "code", "message"),
    [
        (InputError("a:1: wrong"), 2, "error: a:1: wrong\n"),
        (InputError("two\nlines"), 2, "error: two\\nlines\n"),
        (GateError("too slow"), 1, "error: too slow\n"),
        (EnvironmentProblem("no GPU"), 3, "error: no GPU\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "error: /x: Permission denied\n"),
    ],
)
def test_exit_codes(planted, problem, code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    planted(problem)
    assert run([]) == code
    assert capsys.readouterr().err.lstrip("\n") == message


def test_a_bug_is_not_hidden(planted) -> None:
    planted(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        run([])


def test_python_m_ppdsim_and_its_exit_code() -> None:
    command = [sys.executable, "-m", "ppdsim", "nonsense"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})
    assert result.returncode == 2
    assert result.stderr.startswith("error: No such command 'nonsense'")
    assert "Traceback" not in result.stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m ppdsim scenarios --json | head -c 1"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert result.stderr == ""


@pytest.mark.parametrize("arguments", [["show", "h200"], ["show", "h200", "--json"], ["show", "nothing", "--json"]])
def test_a_full_disk_under_stdout_is_one_line(arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ppdsim", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == (2 if "nothing" in arguments else 3)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
