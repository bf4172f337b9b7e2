"""The settings file: defaults, what goes over it, and one line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppdsim.engines.launch.settings_file import load_settings
from ppdsim.engines.sglang.launcher.settings import Settings
from ppdsim.errors import InputError


def test_the_defaults_are_the_stack_s_own() -> None:
    found = load_settings(Settings, None, {"model": "m"})
    ports = found.ports
    assert (ports.router, ports.prefill, ports.decode, ports.bootstrap) == (30_000, 30_100, 30_200, 9_000)
    assert found.mem_fraction_static == 0.85
    assert found.transport == "auto"


def test_options_go_over_the_file_and_assignments_over_both(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    path.write_text("model: from-file\ntp: 2\nports: {router: 31000}\nengine_flags: --sleep-on-idle --watchdog 5\n")
    found = load_settings(Settings, path, {"tp": 4, "model": None}, ["ports.prefill=31100", "unified_gpus=[0, 1]"])
    assert (found.model, found.tp, found.ports.router, found.ports.prefill) == ("from-file", 4, 31_000, 31_100)
    assert found.engine_flags == ("--sleep-on-idle", "--watchdog", "5")
    assert found.unified_gpus == (0, 1)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("model: m\ntransprt: tcp\n", "transport"),
        ("model: m\ntp: '4'\n", "tp"),
        ("model: m\nports: {router: 0}\n", "ports.router"),
        ("model: m\ntransport: pigeon\n", "transport"),
        ("model: [\n", "not YAML"),
        ("- model\n", "expected keys and values"),
        ("tp: 1\n", "missing key 'model' (give --model)"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "stack.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        load_settings(Settings, path, {})
    message = str(caught.value)
    assert message.startswith(str(path))
    assert text in message
    assert "\n" not in message


@pytest.mark.parametrize("assignment", ["tp", "=3", "model.x=1", "tp=[", "tpp=3"])
def test_a_wrong_assignment_is_refused(assignment: str) -> None:
    with pytest.raises(InputError):
        load_settings(Settings, None, {"model": "m"}, [assignment])
