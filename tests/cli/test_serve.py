"""``ppdsim serve`` on stand-in servers: prints what the first request took, and leaves nothing, however it ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli.test_json import assert_described, assert_error
from engines.sglang.launcher.standins import PROGRAM, default_signals, free_run, left_over, nothing_left, ports
from machine.machines import FakeMachine

from ppdsim.cli import servers
from ppdsim.cli.app import run
from ppdsim.machine import host as machine
from ppdsim.machine.process_tree import log_of

STAGES = {
    # What the command does when it is interrupted: the word that makes a stand-in linger there, and how to tell.
    "a server starts": (("--engine-flag=--standin=hang-start",), "prefill-0.log", "loading weights"),
    "the router starts": (("--set", "router_flags=--standin hang-start"), "router.log", "loading weights"),
    "the first request": (("--set", "router_flags=--standin hang-request"), "router.log", "request received"),
    "servers die hard": (("--engine-flag=--standin=stubborn,hang-request",), "prefill-0.log", "request received"),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def arguments(model: Path, *more: str, held: dict[str, int] | None = None) -> list[str]:
    program = shlex.join(PROGRAM)
    # A port that the call does not read is refused.
    unread = {"unified": "--unified-gpu" not in more, "metrics": "mini-lb" in more}
    chosen = {name: port for name, port in (held or ports()).items() if not unread.get(name)}
    return [
        "serve",
        *("--model", str(model), "--prefill-gpu", "0", "--decode-gpu", "1", "--use-tcp"),
        *("--engine-program", program, "--set", f"router_program={program}"),
        *("--set", "stop_timeout_s=0.5", "--log-dir", str(model.parent / "logs")),
        *(word for name, port in chosen.items() for word in ("--set", f"ports.{name}={port}")),
        *more,
    ]


def started(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "ppdsim", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=default_signals,  # noqa: PLW1509
    )


def wait_for(path: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + 30.0
    while not path.exists() or text not in path.read_text():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < until_s
        time.sleep(0.05)


@pytest.mark.parametrize("router", ["real", "mini-lb"])
def test_it_prints_what_the_first_request_took(model: Path, router: str, capsys: pytest.CaptureFixture[str]) -> None:
    held = ports()
    assert run([*arguments(model, "--router", router, held=held), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert_described(printed, "serve")
    assert printed["transport"] == "tcp"
    assert [server["name"] for server in printed["servers"]] == ["prefill-0", "decode-0", "router"]
    (request,) = printed["requests"]
    assert request["via"] == "router"
    assert (request["prompt_tokens"], request["output_tokens"]) == (500, 16)
    assert 0.0 < request["ttft_s"] <= request["e2e_s"]
    assert request["kv_transfer_s"] == pytest.approx(0.0125)
    assert nothing_left(model, list(held.values()))


def test_in_words(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments(model, "--unified-gpu", "2")) == 0
    output = capsys.readouterr()
    lines = output.out.splitlines()
    times = r"TTFT \d\S* m?s, TPOT \d\S* \S?s, E2E \d\S* m?s"
    assert len(lines) == 2
    assert re.fullmatch(rf"first request through unified-0, 500 \+ 16 tokens: {times}", lines[0])
    assert re.fullmatch(rf"first request through router, 500 \+ 16 tokens: {times}, KV transfer 12.5 ms", lines[1])
    assert "prefill-0: ready after" in output.err


def test_several_of_each_and_groups(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = dict(zip(ports(), (first := free_run(15), *range(first + 1, first + 15, 3)), strict=True))
    more = ("--prefill-gpu", "0,1,2,3", "--decode-gpu", "4,5,6,7", "--unified-gpu", "4,5", "--tp", "2")
    assert run([*arguments(model, *more, "--max-total-tokens", "4096", held=held), "--json", "-q"]) == 0
    printed = json.loads(capsys.readouterr().out)
    made = {server["name"]: server for server in printed["servers"]}
    assert list(made) == ["prefill-0", "prefill-1", "decode-0", "decode-1", "unified-0", "router"]
    assert [made[name]["gpus"] for name in ("prefill-1", "decode-1", "unified-0")] == [[2, 3], [6, 7], [4, 5]]
    assert [request["via"] for request in printed["requests"]] == ["unified-0", "router"]
    assert nothing_left(model, [int(server["url"].rsplit(":", 1)[1]) for server in printed["servers"]])


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_kill_at_each_stage_leaves_nothing(model: Path, stage: str, number: int) -> None:
    more, log, text = STAGES[stage]
    held = ports()
    process = started([*arguments(model, *more, held=held), "--json"])
    wait_for(model.parent / "logs" / log, text, process)
    process.send_signal(number)
    printed, errors = process.communicate(timeout=30.0)
    assert process.returncode == 130, errors.decode()
    assert_error(printed.decode(), "Interrupted", 130)
    assert b"Traceback" not in errors
    assert nothing_left(model, list(held.values()))


def test_killed_outright_the_kernel_ends_the_servers(model: Path) -> None:
    held = ports()
    process = started(arguments(model, *STAGES["the first request"][0], held=held))
    wait_for(model.parent / "logs" / "router.log", "request received", process)
    process.kill()
    process.communicate(timeout=10.0)
    assert nothing_left(model, list(held.values()))


@pytest.mark.parametrize(
    ("word", "name", "fix"),
    [
        ("oom", "out-of-memory", "nvidia-smi"),
        ("ordinal", "device-ordinal", "unset CUDA_VISIBLE_DEVICES"),
        ("library", "missing-library", "ppdsim doctor"),
        ("ibverbs", "rdma-libraries", "apt-get install -y libibverbs1"),
        ("take-port", "port-taken", "ss -ltnp"),
    ],
)
def test_a_failure_is_one_line_with_its_reason(
    model: Path, word: str, name: str, fix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    held = ports()
    assert run([*arguments(model, "--set", f"decode_flags=--standin {word}", "-q", held=held), "--json"]) == 3
    printed = capsys.readouterr()
    assert_error(printed.out, "EnvironmentProblem", 3)
    (line,) = printed.err.splitlines()
    assert line.startswith("error: decode-0 ended with code 1")
    assert f"({name})" in line
    assert f"fix: {fix}" in line
    assert nothing_left(model, list(held.values()))


def test_a_port_that_somebody_holds_is_named_and_nothing_starts(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = ports()
    with socket.create_server(("127.0.0.1", held["router"])):
        assert run(arguments(model, "-q", held=held)) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: router: port {held['router']} is taken")
    assert nothing_left(model, list(held.values()))


def test_a_link_that_the_machine_has_not_is_refused_and_nothing_starts(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "ThisMachine", lambda: FakeMachine(folders={}))
    command = [word for word in arguments(model, "--transport", "rdma", "-q") if word != "--use-tcp"]
    assert run([*command, "--dry-run"]) == 0
    capsys.readouterr()
    assert run(command) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --transport rdma: this host has no RDMA device")
    assert not (model.parent / "logs").exists()


def test_while_it_waits_it_shows_the_last_line_of_the_log(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "EVERY_S", 0.0)
    assert run(arguments(model, "--engine-flag=--standin=hang-start", "--set", "start_timeout_s=2")) == 3
    assert "prefill-0: waiting, 0 s: loading weights:  50%\n" in capsys.readouterr().err


@pytest.mark.parametrize(("word", "text"), [("short", "15 of 16 tokens"), ("abort", "aborted"), ("miscount", "501")])
def test_a_wrong_answer_fails_the_first_request(
    model: Path, word: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    held = ports()
    assert run([*arguments(model, f"--engine-flag=--standin={word}", "-q", held=held), "--json"]) == 1
    printed = capsys.readouterr()
    assert text in printed.err
    assert_error(printed.out, "RequestFailed", 1)
    assert nothing_left(model, list(held.values()))


def test_servers_that_stay_and_the_command_that_ends_them(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held, logs = ports(), model.parent / "logs"
    process = started([*arguments(model, "--keep-running", held=held), "--json"])
    printed, errors = process.communicate(timeout=30.0)
    assert process.returncode == 0, errors.decode()
    served = json.loads(printed)
    assert_described(served, "serve")
    assert set(served["pids"]) == {"prefill-0", "decode-0", "router"}
    assert f"to end them: ppdsim serve --stop {logs}" in errors.decode()
    # The router's command does not name the model; its port tells.
    pids = left_over(model)
    assert {log_of(pid) for pid in pids} == {logs / "prefill-0.log", logs / "decode-0.log"}
    assert not nothing_left(model, [held["router"]])
    assert run(arguments(model, held=held)) == 3
    assert "still run" in capsys.readouterr().err
    assert run(["serve", "--stop", str(logs), "--json"]) == 0
    ended = capsys.readouterr()
    assert ended.err.count("ended ") == 3
    assert_described(json.loads(ended.out), "serve")
    assert json.loads(ended.out)["stopped"] == served["pids"]
    assert nothing_left(model, list(held.values()))
    assert run(["serve", "--stop", str(logs), "--json"]) == 2
    assert_error(capsys.readouterr().out, "InputError", 2)


def test_a_dry_run_starts_nothing_and_needs_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["serve", "--model", "M", "--prefill-gpu", "0", "--decode-gpu", "1", "--use-tcp", "--dry-run"]
    assert run([*command, "--log-dir", str(tmp_path / "logs"), "--", "--watchdog-timeout", "60"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("--watchdog-timeout 60") == 2
    assert "MC_FORCE_TCP=1" in printed
    assert not (tmp_path / "logs").exists()


def test_a_dry_run_leaves_cores_and_link_to_the_machine_that_serves(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    command = ["serve", "--model", str(model), "--prefill-gpu", "0", "--decode-gpu", "1", "--cpu-pin", "auto"]
    program = ["--engine-program", "x", "--set", "router_program=x", "--log-dir", str(model.parent / "logs")]
    assert run([*command, *program, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "# --cpu-pin auto: each server and the client get an equal share of the cores of the machine that" in printed
    assert "this one has 2\n# --transport auto: the fastest link of the machine that serves; of this one" in printed
    assert [f"taskset -c CORES-OF-{name} " in printed for name in ("prefill-0", "decode-0", "router")] == [True] * 3
    assert run([*command, *program]) == 2
    assert "--cpu-pin auto: 2 cores for 3 servers and the client" in capsys.readouterr().err
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert run([*command, *program, "--dry-run"]) == 0
    assert "taskset -c 2,3 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--transport", "nvlink"], "contradict"),
        (["--prefill-gpu", "a"], "--prefill-gpu a: expected numbers of GPUs"),
        (["--model", "/no/such/folder"], "no config.json there"),
        (["--set", "ports.routr=1"], "router"),
        (["stray"], "'stray': not an option"),
    ],
)
def test_bad_input_is_one_line(model: Path, more: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*arguments(model), *more]) == 2
    errors = capsys.readouterr().err
    assert text in errors
    assert errors.count("\n") == 1
    assert not left_over(model)
