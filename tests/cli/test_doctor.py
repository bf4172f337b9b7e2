"""``ppdsim doctor`` on the machine at hand, GPU or not."""

from __future__ import annotations

import json
import socket

from calibrate.doctor.machines import FakeMachine

from ppdsim.calibrate.doctor import machine
from ppdsim.cli.app import run


def test_without_a_gpu_it_says_so_and_ends_with_3(monkeypatch, capsys):
    monkeypatch.setattr(machine, "ThisMachine", lambda: FakeMachine(cards=(), driver_version=None, lanes={}))
    assert run(["doctor"]) == 3
    printed = capsys.readouterr()
    assert "no GPU" in printed.out
    assert "ppdsim fake-stack" in " ".join(printed.out.split())
    (line,) = printed.err.splitlines()
    assert line.startswith("error: servers will not run here: driver, gpus")


def test_a_healthy_machine_ends_with_0(monkeypatch, capsys):
    monkeypatch.setattr(machine, "ThisMachine", FakeMachine)
    assert run(["doctor"]) == 0
    assert "transport to take here: nvlink" in capsys.readouterr().out


def test_json_is_a_list_of_objects_with_their_mends(capsys):
    code = run(["doctor", "--json"])
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert code in (0, 3)
    assert found["transport"] in ("tcp", "rdma", "nvlink")
    assert all(set(row) == {"check", "status", "found", "mend"} for row in found["findings"])
    assert code == (3 if any(row["status"] == "failure" for row in found["findings"]) else 0)
    assert "Traceback" not in printed.err


def test_a_port_that_is_taken_is_seen():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not machine.ThisMachine().port_is_free(taken.getsockname()[1])
