"""Stand-in servers for tests: settings that start them, and whether any of their processes is left."""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ppdsim.engines.launch.specs import Host, ServerSpec
from ppdsim.engines.sglang.launcher.layout import layout
from ppdsim.engines.sglang.launcher.settings import Settings

HOST = "127.0.0.1"
PROGRAM = (sys.executable, "-S", "-E", str(Path(__file__).with_name("standin_server.py")))
ONE_CORE = Host(cores=(0,))


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        places = [held.enter_context(socket.socket()) for _ in range(count)]
        for place in places:
            place.bind((HOST, 0))
        return [place.getsockname()[1] for place in places]


def free_run(count: int) -> int:
    """Return the first of `count` ports in a row that are free."""
    while True:
        (first,) = free_ports(1)
        if all(_free(port) for port in range(first, first + count)):
            return first


def ports() -> dict[str, int]:
    names = ("router", "prefill", "decode", "unified", "bootstrap", "metrics")
    return dict(zip(names, free_ports(len(names)), strict=True))


def standins(model: Path, **changes: Any) -> tuple[ServerSpec, ...]:
    """Return the specs of stand-ins; `model` stands in their command lines and so tells them from other processes."""
    settings = {
        "model": str(model),
        "ports": ports(),
        "engine_program": PROGRAM,
        "router_program": PROGRAM,
        "transport": "tcp",
        **changes,
    }
    return layout(Settings(**settings), ONE_CORE)


def pair(model: Path, **changes: Any) -> tuple[ServerSpec, ...]:
    return standins(model, **{"prefill_gpus": (0,), "decode_gpus": (1,), **changes})


def unified(model: Path, *words: str, **changes: Any) -> tuple[ServerSpec, ...]:
    flags = ("--standin", ",".join(words)) if words else ()
    return standins(model, **{"unified_gpus": (0,), "engine_flags": flags, **changes})


def left_over(token: Path) -> list[int]:
    """Return processes with `token` in their command line, found without the code under test."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(token).encode() in words:
                found.append(int(entry.name))
    return found


def nothing_left(token: Path, held: Sequence[int]) -> bool:
    """Tell whether no process is left and every port is free, at once or within two seconds."""
    until_s = time.monotonic() + 2.0
    while left_over(token) or not all(_free(port) for port in held):
        if time.monotonic() > until_s:
            return False
        time.sleep(0.02)
    return True


def default_signals() -> None:
    """Undo what a shell that runs the tests in the background made its children ignore."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _free(port: int) -> bool:
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind((HOST, port))
        except OSError:
            return False
    return True
