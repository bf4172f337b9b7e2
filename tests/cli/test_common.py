"""What commands share."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from ppdsim.cli import common
from ppdsim.cli.app import app
from ppdsim.errors import InputError

RUN = "_llama-3.1-8b_sglang-0.5.17"
H200 = [f"h200x1{RUN}", f"h200x1{RUN}_pinned", f"h200x2{RUN}"]


def test_profile_policy_and_seed_are_short_for_overrides_and_come_last() -> None:
    assert common.overrides(["transport=tcp"], profile="b", policy="always-d", seed=3) == [
        "transport=tcp",
        "profile=b",
        "routing.policy=always-d",
        "seed=3",
    ]
    assert common.overrides(None) == []


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (["profile=a"], {"profile": "b"}),
        (["routing.policy=ppd"], {"policy": "always-d"}),
        (["seed=1"], {"seed": 2}),
        (["transport=tcp", "transport=tcp"], {}),
    ],
)
def test_an_option_that_replaces_another_is_refused(settings: list[str], options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"--set {settings[0]}: replaced by"):
        common.overrides(settings, **options)


def test_json_takes_numpy_and_writes_null_for_nan(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    common.print_json({"a": np.arange(2), "b": np.float64("nan"), "c": Path("x")})
    assert json.loads(capfdbinary.readouterr().out) == {"a": [0, 1], "b": None, "c": "x"}


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    common.print_status("loud")
    common.print_status("soft", quiet=True)
    common.print_written([Path("x")], quiet=True)
    assert capsys.readouterr() == ("", "loud\n")


@pytest.mark.parametrize(
    ("terminal", "quiet", "shown"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_progress_shows_on_a_terminal_only(terminal, quiet, shown, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with common.progress("working", quiet=quiet) as advance:
        advance(1, 2)
        advance(2, 2)
    assert ("working" in stream.getvalue()) is shown


COMPLETED = {
    "scenario": ("one-", ["one-pair", "one-unified"]),
    "policy": ("always-", ["always-p", "always-d"]),
    "profile": ("h200", ["h200", *H200]),
    "gpu": ("H1", ["H100-SXM", "H100-PCIe"]),
    "link": ("rdma-", ["rdma-100g", "rdma-200g", "rdma-400g"]),
}
"""What names something that is installed, by parameter, with a beginning and what it is completed to."""
COMMANDS = typer.main.get_command(app).commands
NAMING = [(command, p.name) for command, found in COMMANDS.items() for p in found.params if p.name in COMPLETED]


def test_something_of_each_kind_is_named_by_a_command() -> None:
    assert {name for _, name in NAMING} == set(COMPLETED)


@pytest.mark.parametrize(("command", "name"), NAMING)
def test_names_complete_wherever_they_are_taken(command: str, name: str) -> None:
    found = COMMANDS[command]
    (parameter,) = [p for p in found.params if p.name == name]
    beginning, expected = COMPLETED[name]
    context = found.make_context(command, [], resilient_parsing=True)
    assert [item.value for item in parameter.shell_complete(context, beginning)] == expected


def test_the_shell_completes() -> None:
    environment = {
        **os.environ,
        "_PPDSIM_COMPLETE": "complete_bash",
        "COMP_WORDS": "ppdsim derive h200x1",
        "COMP_CWORD": "2",
    }
    code = "import sys; sys.argv[0] = 'ppdsim'; from ppdsim.cli.app import main; main()"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert result.stdout.split() == H200[:2]
