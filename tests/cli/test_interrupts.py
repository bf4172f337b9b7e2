"""What Ctrl-C keeps: what --help promises, at the first step and at a later one. SIGINT comes from the progress bar."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest
import typer
from cli.test_json import assert_file_described
from crossover_cases import against

from ppdsim import capacity
from ppdsim.cli.app import app, run

TURN = '{"conversation_id": %d, "turn": 0, "arrival_s": %d.0, "new_tokens": 100, "output_tokens": 4}\n'
SMALL = ("total_tokens=[8192]", "cache_rates=[0.5]", "turns=10", "draws=2")
QUESTION = [f"--set=crossover.{setting}" for setting in SMALL] + [f"--set={setting}" for setting in against("nvlink")]
POLICIES = ["--policy", "always-p", "--policy", "always-d"]
FEW = ["--set", "workload.conversations=4"]
CASES = {
    "alternatives": (
        ["simulate", "pd-ratio", *FEW, "--set", "seeds=2"],
        2,
        {"interrupted/1P_3D/turns.csv", "interrupted/2P_2D/summary.json"},
    ),
    "policies": (
        ["simulate", "one-pair", "--trace", "t.jsonl", *POLICIES],
        1,
        {"interrupted/always-p/turns.csv", "interrupted/always-p/summary.json"},
    ),
    "capacity": (["capacity", "one-pair", *FEW, "--tolerance", "0.5"], 2, {"interrupted/capacity.json"}),
    "capacity of alternatives": (
        ["capacity", "pd-ratio", *FEW, "--tolerance", "1", "--seeds", "1"],
        2,
        {"interrupted/1P_3D/capacity.json", "interrupted/2P_2D/capacity.json"},
    ),
    "sweep": (
        ["sweep", "one-pair", "--trace", "t.jsonl", "--grid", "transport=nvlink,tcp", "--seeds", "1", "--jobs", "1"],
        1,
        {"sweep.csv", "sweep.json"},
    ),
    "crossover": (["crossover", "cache-rate", *QUESTION], 1, {"formulas-only.json"}),
}
"""Commands, the step of their progress at which SIGINT comes, and files that are kept by then."""


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str, int], None]]:
    """Return what makes SIGINT come at a step of a command's progress."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.jsonl").write_text("".join(TURN % (number, number) for number in range(3)))

    def at(command: str, step: int) -> None:
        @contextmanager
        def progress(label: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
            def advance(done: int, total: int) -> None:
                if done == step:
                    signal.raise_signal(signal.SIGINT)

            yield advance

        monkeypatch.setattr(import_module(f"ppdsim.cli.{command}").common, "progress", progress)

    yield at
    signal.signal(signal.SIGINT, before)


def kept(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("[!.]*") if path.is_file()}


@pytest.mark.parametrize("name", CASES)
def test_what_had_ended_is_kept_and_named(name, interrupt, tmp_path, capsys) -> None:
    command, step, expected = CASES[name]
    interrupt(command[0], step)
    assert run([*command, "-o", "out"]) == 130
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.splitlines()[-1] == "error: interrupted"
    written = kept(tmp_path / "out")
    assert expected <= written
    assert {line.removeprefix("wrote out/") for line in printed.err.splitlines() if line.startswith("wrote")} == {
        file for file in written if not file.startswith("rows/")
    }
    for file in written:
        if file.endswith(".json") and not file.startswith("rows/"):
            assert_file_described(tmp_path / "out" / file)


def test_a_capacity_of_some_seeds_says_so(interrupt, tmp_path) -> None:
    command, step, _ = CASES["capacity"]
    interrupt("capacity", step)
    assert run([*command, "-o", "out", "-q"]) == 130
    found = capacity.read(tmp_path / "out/interrupted/capacity.json")
    assert found.notes[0] == "interrupted: the answer is of 2 of 5 seeds"
    assert len(found.seeds) == 2


NOTHING = {
    "alternatives": ("ppdsim.whatif.run.simulate", "the run of no alternative had ended"),
    "policies": ("ppdsim.simulation.compare.simulate", "the run of no policy had ended"),
    "capacity": ("ppdsim.capacity.run.simulate", "no seed had ended"),
    "capacity of alternatives": ("ppdsim.capacity.run.simulate", "no seed had ended"),
    "sweep": ("ppdsim.sweep.run.as_completed", "no row had ended"),
    "crossover": ("ppdsim.crossover.run.formulas", "the formulas were not ready"),
}
"""What is running before anything has ended, and what is said then."""


@pytest.mark.parametrize("name", NOTHING)
def test_where_nothing_had_ended_it_is_said(name, interrupt, tmp_path, capsys, monkeypatch) -> None:
    place, lost = NOTHING[name]

    def stop(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)

    module, _, attribute = place.rpartition(".")
    monkeypatch.setattr(import_module(module), attribute, stop)
    assert run([*CASES[name][0], "-o", "out"]) == 130
    assert capsys.readouterr().err.splitlines()[-2:] == [f"nothing is kept: {lost}", "error: interrupted"]
    assert not (tmp_path / "out").exists() or not kept(tmp_path / "out")


def test_the_complete_results_of_an_earlier_run_stay(interrupt, tmp_path) -> None:
    command = [*CASES["policies"][0], "-o", "out", "-q"]
    assert run(command) == 0
    complete = kept(tmp_path / "out")
    interrupt("simulate", 1)
    assert run(command) == 130
    assert complete < kept(tmp_path / "out")


def test_every_command_that_promises_it_in_its_help_is_tested_here() -> None:
    commands = typer.main.get_command(app).commands
    promised = {name for name, one in commands.items() if re.search("Ctrl-C.* (keeps|kept)", one.help or "", re.S)}
    assert promised == {command[0] for command, _, _ in CASES.values()}
