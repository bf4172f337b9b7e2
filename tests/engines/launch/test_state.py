"""What another command makes of ``servers.json``: processes of this boot, and what does not go is named."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from ppdsim.engines.launch import shutdown as takedown
from ppdsim.engines.launch import state
from ppdsim.errors import EnvironmentProblem, InputError
from ppdsim.machine import process_tree as family
from ppdsim.machine.process_tree import SERVERS_FILE, Identity, identity_of


def written(folder: Path, pid: int, *, port: int = 1, boot_id: str | None = None) -> Path:
    path = folder / SERVERS_FILE
    server = {"name": "decode-0", "url": "http://127.0.0.1:1", "host": "127.0.0.1", "ports": [port], "mark": "m"}
    server |= {"pid": pid, "start_ticks": identity_of(pid).start_ticks}
    boot = state._boot_id() if boot_id is None else boot_id
    path.write_text(json.dumps({"schema": "ppdsim/servers/1", "boot_id": boot, "servers": [server]}))
    return path


@pytest.fixture
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True) as process:
        yield process
        process.kill()


def test_servers_of_another_boot_are_none(tmp_path: Path, sleeper) -> None:
    path = written(tmp_path, sleeper.pid, boot_id="another")
    state.refuse_if_running(tmp_path)
    assert state.stop(tmp_path, grace_s=1.0) == []
    assert sleeper.poll() is None
    assert not path.exists()


def test_a_pid_that_another_process_has_by_now_is_left_alone(tmp_path: Path, sleeper) -> None:
    path = written(tmp_path, sleeper.pid)
    content = json.loads(path.read_text())
    content["servers"][0]["start_ticks"] -= 1
    path.write_text(json.dumps(content))
    assert state.stop(tmp_path, grace_s=1.0) == []
    assert sleeper.poll() is None


ORPHANING = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], env={})
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def orphan():
    """Yield the identity of a session's leader that has ended, and its child that has not."""
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANING], start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as leader:
        child = identity_of(int(leader.stdout.readline()))
        one = identity_of(leader.pid)
        leader.stdin.close()
    yield one, child
    with suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGKILL)


def runs(pid: int) -> bool:
    """Tell whether a process goes on; one that has ended may wait for a parent that collects it."""
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_children_of_a_stranger_that_had_the_pid_are_left_alone(tmp_path: Path, orphan) -> None:
    leader, child = orphan
    path = written(tmp_path, leader.pid)
    content = json.loads(path.read_text())
    # The server's process started earlier, and its pid was given away when it had ended.
    content["servers"][0]["start_ticks"] = leader.start_ticks - 1
    path.write_text(json.dumps(content))
    state.refuse_if_running(tmp_path)
    assert state.stop(tmp_path, grace_s=1.0) == []
    assert runs(child.pid)


def test_a_server_s_own_children_go_though_its_first_process_has_ended(tmp_path: Path, orphan) -> None:
    leader, child = orphan
    path = written(tmp_path, leader.pid)
    content = json.loads(path.read_text())
    content["servers"][0]["members"] = [[child.pid, child.start_ticks]]
    path.write_text(json.dumps(content))
    assert [one.name for one in state.stop(tmp_path, grace_s=5.0)] == ["decode-0"]
    assert not runs(child.pid)


def test_no_signal_reaches_a_process_of_another_start(sleeper, monkeypatch: pytest.MonkeyPatch) -> None:
    known = identity_of(sleeper.pid)
    other = Identity(pid=known.pid, start_ticks=known.start_ticks - 1)
    family._send(other, signal.SIGKILL)
    monkeypatch.setattr(os, "pidfd_open", lambda pid: (_ for _ in ()).throw(OSError(38, "no such call")))
    family._send(other, signal.SIGKILL)
    assert sleeper.poll() is None
    family._send(known, signal.SIGKILL)
    assert sleeper.wait(10.0) == -signal.SIGKILL


def test_a_port_that_stays_held_is_named_and_the_file_stays(tmp_path: Path, sleeper, monkeypatch) -> None:
    monkeypatch.setattr(takedown, "PORT_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        path = written(tmp_path, sleeper.pid, port=port)
        with pytest.raises(EnvironmentProblem, match=f"all servers are down, but ports are still held: {port} "):
            state.stop(tmp_path, grace_s=1.0)
    assert path.exists()


def test_a_process_that_does_not_go_is_named() -> None:
    with pytest.raises(EnvironmentProblem, match="processes that SIGKILL did not end: 12, 13 "):
        state.complain([12, 13], [30_000])


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "malformed|Invalid JSON"), ('{"schema": "ppdsim/servers/1", "boot_id": "x", "servers": [{}]}', "servers.0")],
)
def test_a_file_that_is_none_is_one_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / SERVERS_FILE).write_text(content)
    with pytest.raises(InputError, match=said) as caught:
        state.stop(tmp_path, grace_s=1.0)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / SERVERS_FILE) in str(caught.value)
