"""Whatever a joined server answers, a calibration names it within its bounds; a traceback is never the answer."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache

import pytest
import typer.main
from engines.sglang.launcher.standins import default_signals
from measure.fault_server import PLAN, FaultyServer, command
from measure.faults import FAULTS

from ppdsim.cli.app import run
from ppdsim.engines.sglang import client as sglang_http
from ppdsim.measure import machine, service_measurement
from ppdsim.measure.journal import SKIPPED, read_rows
from ppdsim.measure.machine import gpu_of

COMMANDS = cache(typer.main.get_command)
GPU_OF = cache(gpu_of)
"""Both are the same in all of these calls, and take most of their time."""
SHORT_S = 0.3
"""The bounds in time under test [s]; a turn of the faulty server takes a hundredth of a second."""


@pytest.fixture(autouse=True)
def _short_bounds(require, monkeypatch):
    require("python:aiohttp")
    for name in ("SILENCE_S", "INFO_S", "FLUSH_S", "ABORT_S"):
        monkeypatch.setattr(sglang_http, name, SHORT_S)
    monkeypatch.setattr(sglang_http, "EVERY_S", SHORT_S / 3)
    monkeypatch.setattr(service_measurement, "CHECK_S", SHORT_S)
    monkeypatch.setattr(typer.main, "get_command", COMMANDS)
    monkeypatch.setattr(machine, "gpu_of", GPU_OF)


def skipped(folder):
    path = folder / "out" / SKIPPED
    return [json.loads(line)["reason"] for line in path.read_text().splitlines()] if path.exists() else []


def test_the_table_is_large_and_has_no_name_twice():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 46


def test_a_server_that_hangs_is_given_up_within_a_minute(monkeypatch):
    """A turn without a token, an abort, a flush and a small turn, each as long as it may take."""
    monkeypatch.undo()
    longest_s = sglang_http.SILENCE_S + sglang_http.ABORT_S + sglang_http.FLUSH_S + service_measurement.CHECK_S
    assert longest_s <= 60.0
    assert 2 * sglang_http.INFO_S + sglang_http.ABORT_S <= 60.0
    assert sglang_http.EVERY_S <= 10.0


KINDS = {
    "decode": "decode: {batch: [3], prompt_tokens: [64]}\n",
    "stall": "stall: {batch: [2], prompt_tokens: 64, turns: [[0, 64]]}\n",
    "load": """\
load: [{name: few, rate_per_s: 50.0, conversations: 4}]
chat:
  kind: generated
  conversations: 1
  arrivals: {kind: poisson, rate_per_s: 1.0}
  turns_mean: 2
  first_turn_new_tokens: {kind: constant, value_tokens: 64}
  later_turn_new_tokens: {kind: constant, value_tokens: 64}
  output_tokens: {kind: constant, value_tokens: 8}
  think_time: {kind: constant, value_s: 0.01}
""",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["turn: hangs in the stream", "turn: no count"])
def test_in_every_kind_of_cell_a_fault_is_named(kind, name, tmp_path, capsys):
    (fault,) = [fault for fault in FAULTS if fault.name == name]
    # Warm-up is answered, and so is the probe before the cell: 64 tokens and an answer of 4.
    fault = replace(fault, unless=lambda body: body["sampling_params"]["max_new_tokens"] <= 4)
    with FaultyServer(fault) as server:
        arguments = command(server.url, tmp_path)
        head = "".join(line for line in PLAN.splitlines(True) if not line.startswith("append"))
        (tmp_path / "plan.yaml").write_text(head + KINDS[kind])
        code = run(arguments)
    told = capsys.readouterr().err
    assert code in (0, 3), told
    assert any(re.search(f"/{ {'stall': 'interference'}.get(kind, kind) }/.*", line) for line in told.splitlines())
    reasons = "\n".join(skipped(tmp_path))
    assert re.search("timeout: .*then none for" if fault.hangs else "lacks 'meta_info.completion_tokens'", reasons), (
        told
    )
    kinds = {row.kind for row in read_rows(tmp_path / "out")}
    assert kinds == {"prefill"}, "the probe alone"


def test_without_a_fault_everything_is_measured(tmp_path, capsys):
    with FaultyServer(None) as server:
        assert run(command(server.url, tmp_path)) == 0
    assert not skipped(tmp_path)
    assert {row.cell for row in read_rows(tmp_path / "out") if row.purpose == "fit"} == {
        "fit/prefill/append-d/0/64",
        "fit/prefill/append-d/0/128",
    }


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_named_and_ends_as_the_table_says(fault, tmp_path, capsys):
    with FaultyServer(fault) as server:
        code = run(command(server.url, tmp_path))
    told = capsys.readouterr().err
    assert code == fault.exit_code, told
    assert re.search(fault.said, told), told
    assert told.splitlines()[-1].startswith("error: " if code else "wrote ")
    if fault.path == "/server_info":
        assert f"{server.url}/server_info" in told
        assert not (tmp_path / "out" / "points.jsonl").exists()
    if fault.path == "/generate":
        # Nothing wrong got into the raw file.
        rows = read_rows(tmp_path / "out") if (tmp_path / "out" / "points.jsonl").exists() else []
        assert bool(rows) is (code == 0)
    if fault.once:
        assert len(skipped(tmp_path)) == 1
    if fault.hangs:
        assert re.search(r"waiting for .*http://127.0.0.1:\d+/\S+: \d+ s, at most \d+ s more", told)


@pytest.mark.parametrize("name", ["info: hangs", "turn: hangs before its header"])
def test_sigterm_while_a_server_hangs_ends_it_as_ctrl_c_does(name, tmp_path):
    (fault,) = [fault for fault in FAULTS if fault.name == name]
    with (
        FaultyServer(fault) as server,
        subprocess.Popen(
            [sys.executable, "-m", "ppdsim", *command(server.url, tmp_path)],
            stderr=subprocess.PIPE,
            preexec_fn=default_signals,  # noqa: PLW1509
        ) as process,
    ):
        until_s = time.monotonic() + 60.0
        while not any(f" {fault.path} " in head for head in server.seen):
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < until_s
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60.0)
    assert process.returncode == 130, errors.decode()
    assert errors.decode().splitlines()[-1] == "error: interrupted"
    assert b"Traceback" not in errors
