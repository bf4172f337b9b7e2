"""``ppdsim fake-stack``: it says where it listens, and leaves nothing behind however it is stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ppdsim.cli.app import run
from ppdsim.errors import EXIT_INPUT, EXIT_INTERRUPTED

GENERATE = {"input_ids": [5, 6, 7], "sampling_params": {"max_new_tokens": 3, "ignore_eos": True}}


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[dict[str, Any]]]]:
    """Start the command on free ports and yield it with the lines that it printed up to ``ready``."""
    command = [sys.executable, "-m", "ppdsim", "fake-stack", "--port-base", "0", "--time-scale", "0.2", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            lines: list[dict[str, Any]] = []
            while not lines or "ready" not in lines[-1]:
                text = process.stdout.readline()
                assert text, process.stderr.read()
                lines.append(json.loads(text))
            yield process, lines[:-1]
        finally:
            process.kill()
            process.wait(10.0)


def listening(pid: int) -> set[str]:
    """Return the addresses that a process listens on, in the kernel's spelling, by its sockets."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            sockets.add(re.sub(r"socket:\[(\d+)\]", r"\1", str(entry.readlink())))
    found = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = row.split()
            if words[3] == "0A" and words[9] in sockets:
                found.add(words[1].partition(":")[0])
    return found


def post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(  # noqa: S310
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10.0) as answer:  # noqa: S310
        return json.load(answer)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def all_gone(pids: list[int]) -> bool:
    until_s = time.monotonic() + 10.0
    while not all(gone(pid) for pid in pids):
        if time.monotonic() > until_s:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize(("router", "number"), [("mini-lb", signal.SIGINT), ("real", signal.SIGTERM)])
def test_it_answers_on_loopback_and_goes_when_told(require: Callable[..., str], router: str, number: int) -> None:
    require("python:sglang_router")
    with started("--router", router) as (process, lines):
        assert [line["role"] for line in lines] == ["prefill", "decode", "router"]
        assert len(post(lines[-1]["url"] + "/generate", GENERATE)["output_ids"]) == 3
        # 127.0.0.1 as the kernel prints it: the servers, P's bootstrap, and the real router's metrics too.
        assert [listening(line["pid"]) for line in lines] == [{"0100007F"}] * 3
        process.send_signal(number)
        assert process.wait(15.0) == EXIT_INTERRUPTED
        assert all_gone([line["pid"] for line in lines])


def test_nothing_outlives_a_killed_command() -> None:
    with started("--mode", "unified") as (process, lines):
        process.kill()
        assert all_gone([line["pid"] for line in lines])


def test_it_ends_when_every_server_has_ended() -> None:
    with started("--mode", "unified", "--fault", "kill") as (process, lines):
        with pytest.raises(OSError, match="closed connection|reset"):
            post(lines[0]["url"] + "/generate", GENERATE)
        assert json.loads(process.stdout.readline()) == {"role": "unified", "ended": -signal.SIGKILL}
        assert process.wait(10.0) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mode", "both"], "--mode 'both', expected one of: unified, pd"),
        (["--transport", "none"], "--transport 'none', expected one of: nvlink, tcp, rdma"),
        (["--fault", "flood"], "--fault 'flood'"),
        (["--profile", "h300"], "unknown profile 'h300'"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fake-stack", *arguments]) == EXIT_INPUT
    printed = capsys.readouterr()
    assert printed.out == ""
    assert words in printed.err
    assert len(printed.err.splitlines()) == 1
