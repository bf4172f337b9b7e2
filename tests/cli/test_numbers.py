"""No option that takes a number takes any: what would fill the machine or is no number ends as one line."""

from __future__ import annotations

import typing

import pytest

from ppdsim.cli import app

BASES = {
    "calibrate": ["-o", "run", "--unified-url", "http://127.0.0.1:9", "--plan", "quick", "--dry-run"],
    "capacity": ["one-pair"],
    "crossover": ["cache-rate"],
    "derive": ["h200x2_llama-3.1-8b_sglang-0.5.17", "--gpu", "H100-SXM"],
    "fake-stack": [],
    "serve": ["--model", "x", "--prefill-gpu", "0", "--decode-gpu", "1", "--dry-run"],
    "simulate": ["one-pair"],
    "sweep": ["one-pair", "--grid", "page_size=1"],
}
"""Arguments with which each command would run."""
HOSTILE = {int: ["9" * 30, "-1"], float: ["nan", "inf", "1e300", "-1"]}


def numeric_options() -> list[tuple[str, str, type]]:
    found = []
    commands = app.typer.main.get_command(app.app).commands
    for module in app.COMMANDS:
        name = module.rstrip("_").replace("_", "-")
        function = commands[name].callback
        hints = typing.get_type_hints(getattr(app.import_module(f"ppdsim.cli.{module}"), module))
        del function
        for parameter in commands[name].params:
            kinds = {hints[parameter.name], *typing.get_args(hints[parameter.name])}
            found += [(name, parameter.opts[0], kind) for kind in (int, float) if kind in kinds]
    return found


OPTIONS = numeric_options()


def test_the_options_are_found():
    assert {("sweep", "--seeds"), ("capacity", "--tolerance"), ("simulate", "--seed")} <= {one[:2] for one in OPTIONS}
    assert len(OPTIONS) >= 12


@pytest.mark.parametrize(("command", "option", "kind"), OPTIONS, ids=lambda value: getattr(value, "__name__", value))
def test_it_is_refused_in_one_line(command, option, kind, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in HOSTILE[kind]:
        assert app.run([command, *BASES[command], f"{option}={value}"]) == 2, (option, value)
        printed = capsys.readouterr()
        assert not printed.out
        assert len(printed.err.splitlines()) == 1
        assert option.lstrip("-").split("-")[0] in printed.err
    assert not list(tmp_path.iterdir())
