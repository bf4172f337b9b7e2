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

from ppdsim.cli import common
from ppdsim.errors import InputError


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
    common.say("loud")
    common.say("soft", quiet=True)
    common.wrote([Path("x")], quiet=True)
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


def test_the_shell_completes_scenario_names() -> None:
    environment = {
        **os.environ,
        "_PPDSIM_COMPLETE": "complete_bash",
        "COMP_WORDS": "ppdsim simulate one-",
        "COMP_CWORD": "2",
    }
    code = "import sys; sys.argv[0] = 'ppdsim'; from ppdsim.cli.app import main; main()"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["one-pair", "one-unified"]
