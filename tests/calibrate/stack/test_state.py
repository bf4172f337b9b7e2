"""What another command makes of ``servers.json``: processes of this boot, and what does not go is named."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ppdsim.calibrate.stack import state, takedown
from ppdsim.calibrate.stack.family import identity_of
from ppdsim.calibrate.stack.owner import SERVERS_FILE
from ppdsim.errors import EnvironmentProblem, InputError


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
