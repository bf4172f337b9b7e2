"""A command of an extra that is not installed ends at once: exit code 3, the pip line, nothing begun."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest
from engines.sglang.launcher.standins import PROGRAM

from ppdsim.cli.app import run
from ppdsim.extras import EXTRAS

URL = ("--unified-url", "http://127.0.0.1:1")
PROGRAMS = ("--set", f"engine_program={PROGRAM[0]}")
PAIR = ("--prefill-gpu", "0", "--decode-gpu", "1")
COMMANDS: dict[tuple[str, ...], str] = {
    ("serve", "--model", "model", "--unified-gpu", "0", *PROGRAMS): "aiohttp",
    ("serve", "--model", "model", "--unified-gpu", "0"): "sglang",
    ("serve", "--model", "model", *PAIR, *PROGRAMS): "sglang_router",
    ("calibrate", "--model", "model", *URL, "-o", "out"): "aiohttp",
    ("calibrate", "--model", "model", *URL, "-o", "out", "--dry-run"): "aiohttp",
    ("calibrate", "--model", "model", *PAIR, "-o", "out"): "sglang",
    ("calibrate", "--model", "model", *PAIR, *PROGRAMS, "-o", "out"): "sglang_router",
    ("calibrate", "--only", "transfer", "-o", "out"): "mooncake",
    ("fake-stack", "--port-base", "0", "--mode", "unified"): "aiohttp",
    ("fake-stack", "--port-base", "0"): "sglang_router",
    ("fake-stack", "--port-base", "0", "--router", "none", "--kv-transfer", "mooncake"): "mooncake",
    (
        "sweep",
        "one-pair",
        "--grid",
        "transport=nvlink,tcp",
        "--cluster",
        "tcp://127.0.0.1:1",
        "-o",
        "out",
    ): "distributed",
    ("simulate", "one-pair", "--parquet", "-o", "out"): "pyarrow",
}


def test_each_library_has_a_command_here_and_each_extra_exists() -> None:
    assert set(COMMANDS.values()) == EXTRAS.keys() - {"pandas"}, "pandas is asked for by Python code"
    known = set(metadata.metadata("ppdsim").get_all("Provides-Extra"))
    assert {name for one in EXTRAS.values() for name in one.extra.split(",")} <= known


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[:5]))
def test_without_its_library_a_command_says_how_to_install_it(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = COMMANDS[command]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    shape = {"hidden_size": 512, "intermediate_size": 512, "num_attention_heads": 8, "num_hidden_layers": 2}
    config = {"architectures": ["LlamaForCausalLM"], "vocab_size": 1000, **shape}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    # What the command needs besides may be missing on the machine that runs the tests.
    monkeypatch.setattr("ppdsim.extras.find_spec", lambda name: None if name == module else object())
    monkeypatch.setitem(sys.modules, module, None)
    assert run([*command, *["-q"] * (command[0] != "fake-stack")]) == 3
    output = capsys.readouterr()
    assert f"pip install 'ppdsim[{EXTRAS[module].extra}]'" in output.err
    assert output.err.count("\n") == 1
    assert not output.out
    assert {path.name for path in tmp_path.rglob("*")} <= {"model", "config.json", "out"}
