"""The manifest says on which cores servers and client ran, or why that is unknown."""

from __future__ import annotations

import importlib
import os

import pytest
from measure.fault_server import FaultyServer, command

from ppdsim.cli.app import run
from ppdsim.measure.cores import cores_of, words
from ppdsim.measurements import read_manifest


def test_a_joined_server_on_this_host_has_its_cores_in_the_manifest(tmp_path, require):
    require("python:aiohttp")
    require("python:psutil")
    with FaultyServer(None) as server:
        assert run(command(server.url, tmp_path)) == 0
    mine = words(os.sched_getaffinity(0))
    assert read_manifest(tmp_path / "out").cores == {"unified": mine, "client of unified": mine}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://192.0.2.1:30000", "unknown: on another host"),
        ("http://no-such-host.invalid:1", "unknown: on another host"),
        ("http://127.0.0.1:1", "unknown: its process is not shown to this one"),
    ],
)
def test_what_cannot_be_seen_is_unknown(url, said, require):
    require("python:psutil")
    found = cores_of("pair", {"decode": url})
    assert found["pair, decode"] == said
    assert found["client of pair"] == words(os.sched_getaffinity(0))


def test_a_server_and_a_child_with_cores_of_its_own_are_told_apart(require, monkeypatch):
    psutil = importlib.import_module(require("python:psutil"))

    class Process:
        def __init__(self, pid, cores=(0, 1)):
            self.pid = pid
            self._cores = cores

        def cpu_affinity(self):
            return list(self._cores)

        def name(self):
            return "python3" if self.pid == 7 else "sglang::scheduler"

        def children(self, *, recursive):
            return [Process(8, (4, 5, 6)), Process(9, (0, 1))]

    class Listening:
        status, pid, laddr = "LISTEN", 7, type("Address", (), {"port": 30_000})

    monkeypatch.setattr(psutil, "net_connections", lambda kind: [Listening])
    monkeypatch.setattr(psutil, "Process", Process)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert cores_of("unified", {"unified": "http://localhost:30000"})["unified"] == (
        "cores 0-1 of 8 (python3 7, ...); cores 4-6 of 8 (sglang::scheduler 8)"
    )


def test_engines_that_are_no_processes_have_none():
    assert cores_of("unified", {}) == {}
