"""Whatever a joined server answers, a calibration names it within its bounds; a traceback is never the answer."""

from __future__ import annotations

import json
import re
from functools import cache

import pytest
import typer.main
from calibrate.live.fault_server import FaultyServer, command
from calibrate.live.faults import FAULTS

from ppdsim.calibrate.drivers import sglang_http
from ppdsim.calibrate.live import machine, visit
from ppdsim.calibrate.live.hardware import gpu_of
from ppdsim.calibrate.live.journal import SKIPPED, read_rows
from ppdsim.cli.app import run

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
    monkeypatch.setattr(visit, "CHECK_S", SHORT_S)
    monkeypatch.setattr(typer.main, "get_command", COMMANDS)
    monkeypatch.setattr(machine, "gpu_of", GPU_OF)


def skipped(folder):
    path = folder / "out" / SKIPPED
    return [json.loads(line)["reason"] for line in path.read_text().splitlines()] if path.exists() else []


def test_the_table_is_large_and_has_no_name_twice():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 46


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
