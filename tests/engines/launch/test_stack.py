"""Servers start, are watched, and go: in every way that a start or a server can fail, nothing is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from engines.sglang.launcher.standins import free_ports, nothing_left, pair, standins, unified

from ppdsim.engines.launch import process
from ppdsim.engines.launch.specs import ServerSpec
from ppdsim.engines.launch.stack import Progress, Stack
from ppdsim.errors import EnvironmentProblem

QUICK = {"start_timeout_s": 10.0, "stop_timeout_s": 0.5}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "model"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


def ports_of(specs: tuple[ServerSpec, ...]) -> list[int]:
    return [port for spec in specs for port in spec.held_ports]


def test_a_pair_and_a_router_start_side_by_side_and_go(model: Path, logs: Path) -> None:
    specs = pair(model)
    seen: list[Progress] = []
    with Stack(specs, log_dir=logs, progress=seen.append, **QUICK) as stack:
        assert stack.failure() is None
        assert set(stack.urls) == {"prefill-0", "decode-0", "router"}
        assert stack.endpoints["pd"].entry == specs[-1].url
        assert (logs / "servers.json").exists()
    ready = [event.name for event in seen if event.phase == "ready"]
    started = [(event.name, event.phase) for event in seen if event.phase in ("starting", "ready")]
    assert sorted(ready) == ["decode-0", "prefill-0", "router"]
    # Its own imports take as long as some servers; what it then waits for is its workers.
    assert started[2] == ("router", "starting")
    assert started[-1] == ("router", "ready")
    assert [event.name for event in seen if event.phase == "stopped"] == ["prefill-0", "decode-0", "router"]
    assert nothing_left(model, ports_of(specs))
    assert sorted(path.name for path in logs.iterdir()) == ["decode-0.log", "prefill-0.log", "router.log"]


def test_servers_on_one_gpu_start_one_after_another(model: Path, logs: Path) -> None:
    specs = standins(model, prefill_gpus=(0,), decode_gpus=(0,), unified_gpus=(0,), max_total_tokens=4096)
    seen: list[tuple[str, str]] = []
    with Stack(specs, log_dir=logs, progress=lambda event: seen.append((event.name, event.phase)), **QUICK):
        pass
    order = [event for event in seen if event[1] in ("starting", "ready")]
    first = [(name, phase) for name in ("prefill-0", "decode-0") for phase in ("starting", "ready")]
    together = [("unified-0", "starting"), ("router", "starting"), ("unified-0", "ready"), ("router", "ready")]
    assert order == [*first, *together]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("oom", "out-of-memory"),
        ("ordinal", "device-ordinal"),
        ("symbol", "kernel-package"),
        ("ibverbs", "rdma-libraries"),
        ("library", "missing-library"),
        ("rnic", "no-rdma-device"),
        ("take-port", "port-taken"),
        ("killed", "killed"),
    ],
)
def test_a_server_that_ends_says_why_at_once(model: Path, logs: Path, word: str, name: str) -> None:
    specs = pair(model, decode_flags=("--standin", word), prefill_flags=("--standin", "hang-start"))
    begin_s = time.monotonic()
    with pytest.raises(EnvironmentProblem, match=rf"^decode-0 ended with .*\({name}\).*fix: .*decode-0.log$"):
        Stack(specs, log_dir=logs, **QUICK).__enter__()
    assert time.monotonic() - begin_s < 5.0
    assert nothing_left(model, ports_of(specs))


def test_an_unknown_reason_is_the_last_error_of_the_log(model: Path, logs: Path) -> None:
    specs = unified(model, "strange")
    with pytest.raises(
        EnvironmentProblem, match="unified-0 ended with code 1 after .* the log says: ValueError: the moon"
    ):
        Stack(specs, log_dir=logs, **QUICK).__enter__()


@pytest.mark.parametrize(
    ("word", "name"),
    [("oom", "out-of-memory"), ("ordinal", "device-ordinal"), ("symbol", "kernel-package"), ("port", "port-taken")],
)
def test_a_living_server_that_cannot_start_is_given_up(
    model: Path, logs: Path, word: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LINGER_S", 0.2)
    specs = unified(model, f"{word}-alive", "stubborn")
    with pytest.raises(EnvironmentProblem, match=rf"unified-0 cannot start: .*\({name}\).*fix: "):
        Stack(specs, log_dir=logs, **QUICK).__enter__()
    assert nothing_left(model, ports_of(specs))


def test_a_known_issue_that_a_server_can_get_over_is_waited_for(
    model: Path, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LINGER_S", 0.0)
    specs = unified(model, "library-alive")
    with pytest.raises(EnvironmentProblem, match=r"not healthy within 0.6 s: .*\(missing-library\)"):
        Stack(specs, log_dir=logs, start_timeout_s=0.6, stop_timeout_s=0.5).__enter__()


def test_an_import_that_the_engine_does_without_is_no_failure(model: Path, logs: Path) -> None:
    specs = unified(model)
    with Stack(specs, log_dir=logs, **QUICK):
        assert "No module named" in (logs / "unified-0.log").read_text()


def test_a_server_that_is_never_healthy(model: Path, logs: Path) -> None:
    specs = unified(model, "hang-start")
    seen: list[Progress] = []
    with pytest.raises(EnvironmentProblem, match="not healthy within 0.5 s: the log says: loading weights:  50%"):
        Stack(specs, log_dir=logs, progress=seen.append, start_timeout_s=0.5, stop_timeout_s=0.5).__enter__()
    waiting = [event for event in seen if event.phase == "waiting"]
    # What is told while it is waited for is the last of its log, without what a progress bar has written over.
    assert waiting[-1].line == "loading weights:  50%"
    assert waiting[-1].after_s > waiting[0].after_s
    assert nothing_left(model, ports_of(specs))


def test_a_taken_port_is_named_before_anything_starts(model: Path, logs: Path) -> None:
    specs = pair(model)
    with (
        socket.create_server(("127.0.0.1", specs[0].bootstrap_port)),
        pytest.raises(EnvironmentProblem, match=f"prefill-0: port {specs[0].bootstrap_port} is taken"),
    ):
        Stack(specs, log_dir=logs, **QUICK).__enter__()
    assert not list(logs.iterdir())


def test_a_program_that_does_not_exist(model: Path, logs: Path) -> None:
    specs = unified(model, engine_program=("/no/such/program",))
    with pytest.raises(EnvironmentProblem, match="unified-0: /no/such/program: No such file"):
        Stack(specs, log_dir=logs, **QUICK).__enter__()


def test_a_grandchild_in_a_session_of_its_own_goes_too(model: Path, logs: Path) -> None:
    (port,) = free_ports(1)
    specs = unified(model, "stubborn", unified_flags=("--grandchild-port", str(port)))
    with Stack(specs, log_dir=logs, **QUICK) as stack:
        assert len(stack.servers["unified-0"].family.look()) == 2
    assert nothing_left(model, [port, *ports_of(specs)])


def test_the_grandchildren_of_a_crashed_server_go_too(model: Path, logs: Path) -> None:
    (port,) = free_ports(1)
    specs = unified(model, "oom", unified_flags=("--grandchild-port", str(port)))
    with pytest.raises(EnvironmentProblem, match="out-of-memory"):
        Stack(specs, log_dir=logs, **QUICK).__enter__()
    assert nothing_left(model, [port])


def test_an_error_in_the_block_takes_everything_down(model: Path, logs: Path) -> None:
    specs = unified(model)
    with pytest.raises(ZeroDivisionError), Stack(specs, log_dir=logs, **QUICK):
        raise ZeroDivisionError
    assert nothing_left(model, ports_of(specs))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_block_is_an_interrupt(model: Path, logs: Path, number: int) -> None:
    specs = unified(model)
    before = signal.getsignal(number)
    if before is signal.SIG_IGN:
        pytest.skip("whoever runs the tests makes them ignore this signal")

    def interrupted() -> None:
        with Stack(specs, log_dir=logs, **QUICK):
            os.kill(os.getpid(), number)
            time.sleep(1.0)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert signal.getsignal(number) is before
    assert nothing_left(model, ports_of(specs))


def test_a_second_signal_shortens_the_end_and_does_not_stop_it(model: Path, logs: Path) -> None:
    specs = unified(model, "stubborn")
    begin_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Stack(specs, log_dir=logs, start_timeout_s=10.0, stop_timeout_s=60.0):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert time.monotonic() - begin_s < 20.0
    assert nothing_left(model, ports_of(specs))


def test_a_stack_in_another_thread(model: Path, logs: Path) -> None:
    specs = unified(model)
    urls: list[str] = []

    def run() -> None:
        with Stack(specs, log_dir=logs, **QUICK) as stack:
            urls.append(stack.urls["unified-0"])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20.0)
    assert urls == [specs[0].url]
    assert nothing_left(model, ports_of(specs))


def test_a_server_that_dies_while_it_serves_is_told_of(model: Path, logs: Path) -> None:
    specs = unified(model)
    with Stack(specs, log_dir=logs, **QUICK) as stack:
        os.kill(stack.servers["unified-0"].popen.pid, signal.SIGKILL)
        until_s = time.monotonic() + 5.0
        while (failure := stack.failure()) is None:
            assert time.monotonic() < until_s
        assert failure.startswith("unified-0 ended with signal SIGKILL")
    assert nothing_left(model, ports_of(specs))


def test_a_stack_that_nobody_leaves_goes_with_the_interpreter(model: Path, logs: Path, repository: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[3])\n"
        "from engines.sglang.launcher.standins import unified; from ppdsim.engines.launch.stack import Stack\n"
        "specs = unified(Path(sys.argv[1]))\n"
        "stack = Stack(specs, log_dir=Path(sys.argv[2]), stop_timeout_s=0.5)\n"
        "stack.__enter__(); print(specs[0].port)"
    )
    command = [sys.executable, "-c", code, str(model), str(logs), str(repository / "tests")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30.0, check=True, cwd=repository)
    assert nothing_left(model, [int(done.stdout)])
    assert not (logs / "servers.json").exists()
