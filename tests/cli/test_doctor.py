"""``ppdsim doctor`` on the machine at hand, GPU or not, and on machines that exist only in tests."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest
from machine.machines import FakeMachine

from ppdsim.cli import servers
from ppdsim.cli.app import run
from ppdsim.engines.doctor.examine import Doctor
from ppdsim.engines.sglang.doctor.examine import CHECKS, DOCTOR
from ppdsim.machine import host as machine

NO_GPU = FakeMachine(cards=(), driver_version=None, lanes={}, values={})
ROWS = [
    "python",
    "driver",
    "gpu 0",
    "gpu 1",
    "links",
    "torch",
    "sglang",
    "kernel package",
    "flashinfer",
    "mooncake",
    "rdma",
    "router",
    "ports",
    "environment",
    "apt",
]
"""Every row of a host with two GPUs, in order."""


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeMachine], None]:
    return lambda found: monkeypatch.setattr(machine, "ThisMachine", lambda: found)


def test_without_a_gpu_it_says_so_and_ends_with_3(on, capsys):
    on(NO_GPU)
    assert run(["doctor"]) == 3
    printed = capsys.readouterr()
    assert "no GPU" in printed.out
    assert "ppdsim fake-stack" in printed.out
    (line,) = printed.err.splitlines()
    assert line.startswith("error: servers will not run here: driver, gpus")


def test_a_healthy_machine_ends_with_0(on, capsys):
    on(FakeMachine())
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "transport to take here: nvlink"
    assert [line[:14].rstrip() for line in lines[:-1]] == ROWS


def test_a_mend_is_printed_whole_on_a_narrow_terminal(on, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    on(NO_GPU)
    run(["doctor"])
    printed = capsys.readouterr().out
    for finding in DOCTOR.examine(NO_GPU).findings:
        assert not finding.fix or f"fix      {finding.fix}\n" in printed


def test_json_is_every_row_in_order_with_its_mend(on, capsys):
    on(FakeMachine())
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"schema", "failed", "transport", "findings", "took_s"}
    assert list(found["took_s"]) == list(CHECKS)
    assert (found["schema"], found["failed"], found["transport"]) == ("ppdsim/doctor/1", False, "nvlink")
    assert [row["check"] for row in found["findings"]] == ROWS
    assert all(list(row) == ["check", "status", "found", "fix"] for row in found["findings"])
    assert {row["status"] for row in found["findings"]} == {"OK"}


def test_json_is_whole_where_servers_will_not_run(on, capsys):
    on(NO_GPU)
    assert run(["doctor", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] is True
    rows = {row["check"]: row for row in found["findings"]}
    assert list(rows) == ["python", "driver", "gpus", *ROWS[4:]]
    assert rows["gpus"]["status"] == "failure"
    assert rows["gpus"]["fix"].startswith("ppdsim fake-stack")


def test_json_of_the_machine_at_hand(capsys):
    code = run(["doctor", "--json"])
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["transport"] in ("tcp", "rdma", "nvlink")
    assert code == (3 if any(row["status"] == "failure" for row in found["findings"]) else 0)
    assert found["failed"] is (code == 3)
    assert "Traceback" not in printed.err


def test_a_log_is_explained(on, capsys, tmp_path):
    on(FakeMachine())
    log = tmp_path / "apt.log"
    log.write_text(
        "Hit:1 http://a/ubuntu\nE: The repository 'http://b/ubuntu x Release' does not have a Release file.\n"
    )
    assert run(["doctor", "--log", str(log)]) == 3
    printed = capsys.readouterr().out
    assert "(apt-sources): E: The repository 'http://b/ubuntu x Release'" in printed
    assert "fix      sed -i" in printed
    log.write_text("The server is fired up and ready to roll!\n")
    assert run(["doctor", "--log", str(log), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["findings"][-1]
    assert (row["check"], row["status"], row["fix"]) == ("log", "OK", "")
    assert "ready to roll" in row["found"]
    log.write_text("INFO: ready\n[TP0] Prefill transfer failed with exception KVTransferError(bootstrap_room=1): x\n")
    assert run(["doctor", "--log", str(log)]) == 3
    assert "(kv-transfer): [TP0] Prefill transfer failed" in capsys.readouterr().out
    log.write_text("INFO: ready\nValueError: the moon is not in the right phase\n")
    assert run(["doctor", "--log", str(log), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["findings"][-1]
    assert (row["status"], row["fix"].split()[0]) == ("warning", "less")
    assert "the moon" in row["found"]


def test_a_log_that_is_not_there_is_bad_input(on, capsys):
    on(FakeMachine())
    assert run(["doctor", "--log", "/no/such/log"]) == 2
    assert capsys.readouterr().err == "error: --log /no/such/log: no such file, expected a log\n"


def test_a_port_that_is_taken_is_seen():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not machine.ThisMachine().port_is_free(taken.getsockname()[1])


@pytest.mark.parametrize(
    ("terminal", "shown"), [(False, "looking for 0 s, still at: mooncake, router\n"), (True, "\r\x1b[Klooking")]
)
def test_what_is_waited_for_is_shown_meanwhile(on, capsys, monkeypatch, terminal, shown):
    monkeypatch.setattr(servers, "EVERY_S", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)

    examine = Doctor.examine

    def examined(self, machine, *, model, log, waiting):
        waiting(("mooncake", "router"))
        return examine(self, machine, model=model, log=log)

    monkeypatch.setattr(Doctor, "examine", examined)
    on(FakeMachine())
    assert run(["doctor", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["failed"] is False
    assert printed.err.startswith(shown)
    # Nothing of it stays on a terminal.
    assert printed.err.endswith("\r\x1b[K") is terminal
