"""Starting stand-in servers and a real router in front of them, and taking all of them down again.

Each is a process of its own with a process group of its own. Whatever happens to the process that started them, the
kernel kills them when it dies (``PR_SET_PDEATHSIG``), so none is left over. For stand-ins only: engines on GPUs are
started by :mod:`ppdsim.engines.sglang.launcher`.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import IO

from ppdsim import extras
from ppdsim.engines.launch.process import HEALTH_TIMEOUT_S, death_signal
from ppdsim.engines.sglang.standin.build import load_profile
from ppdsim.engines.sglang.standin.faults import Fault
from ppdsim.engines.stand_in import StackOptions
from ppdsim.errors import EnvironmentProblem, InputError, nearest
from ppdsim.limits import COUNT, NUMBER
from ppdsim.machine.ports import answers, is_free

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
"""Bound on each process being ready [s]; an idle machine needs about one."""
STOP_TIMEOUT_S = 5.0
"""Time that a process has between SIGTERM and SIGKILL [s]."""


class FakeStack:
    """Stand-in servers, and perhaps a router; use as a context manager. `urls` and `processes` are by role.

    Enter it in a thread that outlives it: the kernel takes the end of that thread for the end of the parent.
    """

    def __init__(self, options: StackOptions) -> None:
        load_profile(options.profile)
        self.options = options
        self.urls: dict[str, str] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: dict[str, IO[bytes]] = {}
        self._ports = _ports(options.port_base)

    def __enter__(self) -> FakeStack:
        """Start everything and wait until it answers.

        Raises
        ------
        EnvironmentProblem
            If a library is missing, or a process ends, or is not ready in time; the message then ends with the last
            line of its log.
        """
        check_libraries(self.options)
        with ExitStack() as undo:
            undo.callback(self.stop)
            roles = ("unified",) if self.options.mode == "unified" else ("prefill", "decode")
            for role in roles:
                self._start(role, self._server_command(role))
            for role in roles:
                self._wait(role, "/health")
            if self.options.router != "none" and self.options.mode != "unified":
                self._start("router", self._router_command())
                self._wait("router", "/readiness" if self.options.router == "real" else "/health")
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take everything down."""
        self.stop()

    def stop(self) -> None:
        """Take everything down, by process group: SIGTERM, and SIGKILL for whatever is still there."""
        processes, self.processes = self.processes, {}
        for process in processes.values():
            _signal(process, signal.SIGTERM)
        until_s = time.monotonic() + STOP_TIMEOUT_S
        for process in processes.values():
            while _exit_code(process) is None and time.monotonic() < until_s:
                time.sleep(0.01)
            _signal(process, signal.SIGKILL)
            process.wait()
        for log in self._logs.values():
            log.close()
        self._logs = {}

    def ended(self) -> dict[str, int]:
        """Return the exit codes of processes that have ended, by role."""
        return {role: code for role, process in self.processes.items() if (code := _exit_code(process)) is not None}

    def log_text(self, role: str) -> str:
        """Return what a process has printed."""
        log = self._logs[role]
        log.seek(0)
        return log.read().decode(errors="replace")

    def _start(self, role: str, command: Sequence[str]) -> None:
        if not is_free(HOST, self._ports[role]):
            # The answers of whoever listens there would be taken for those of the new process.
            raise EnvironmentProblem(f"port {self._ports[role]} for the {role}: {os.strerror(errno.EADDRINUSE)}")
        # A file and not a pipe: nobody has to read it for the process to go on.
        log = self._logs[role] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop
        self.processes[role] = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=death_signal(),  # noqa: PLW1509 - no thread of this process holds a lock that it needs
            env={**os.environ, **_quiet_environment()},
        )
        self.urls[role] = f"http://{HOST}:{self._ports[role]}"

    def _wait(self, role: str, path: str) -> None:
        until_s = time.monotonic() + START_TIMEOUT_S
        while not answers(HOST, self._ports[role], path, timeout_s=HEALTH_TIMEOUT_S):
            process = self.processes[role]
            lines = [line for line in self.log_text(role).splitlines() if line.strip()]
            last = lines[-1].strip()[:300] if lines else "it printed nothing"
            code = _exit_code(process)
            if code is not None:
                raise EnvironmentProblem(f"the {role} ended with code {code}: {last}")
            if time.monotonic() > until_s:
                raise EnvironmentProblem(f"the {role} was not ready within {START_TIMEOUT_S:g} s: {last}")
            time.sleep(0.05)

    def _server_command(self, role: str) -> list[str]:
        options, ports = self.options, self._ports
        command = [sys.executable, "-m", "ppdsim.engines.sglang.standin", "--host", HOST, "--port", str(ports[role])]
        command += ["--profile", options.profile, "--time-scale", f"{options.time_scale:g}", "--enable-metrics"]
        command += ["--transport", options.transport.value, "--kv-transfer", options.kv_transfer]
        if role != "unified":
            command += ["--disaggregation-mode", role]
        if role == "prefill":
            command += ["--disaggregation-bootstrap-port", str(ports["bootstrap"])]
        if role == "decode" and options.decode_radix:
            command += ["--disaggregation-decode-enable-radix-cache"]
        if options.kv_pool_tokens is not None:
            command += ["--max-total-tokens", str(options.kv_pool_tokens)]
        # A fault is the answering server's; the others can be given theirs at /fault.
        if options.fault is not None and role != "prefill":
            command += ["--fault", options.fault]
        return [*command, *options.arguments]

    def _router_command(self) -> list[str]:
        command = [sys.executable, "-m", "sglang_router.launch_router", "--pd-disaggregation", "--host", HOST]
        command += ["--port", str(self._ports["router"]), "--policy", "random"]
        command += ["--prefill", self.urls["prefill"], str(self._ports["bootstrap"]), "--decode", self.urls["decode"]]
        if self.options.router == "mini-lb":
            return [*command, "--mini-lb"]
        # A retry or an opened circuit would hide what the stand-in is made to do.
        command += ["--disable-retries", "--disable-circuit-breaker"]
        # Its own default is port 29000 of every interface, for every router of a host.
        return [*command, "--prometheus-host", HOST, "--prometheus-port", str(self._ports["metrics"])]


def check(options: StackOptions) -> None:
    """Refuse options that contradict each other.

    Raises
    ------
    InputError
        Naming the option.
    """
    choices = {
        "mode": (options.mode, ("unified", "pd")),
        "router": (options.router, ("real", "mini-lb", "none")),
        "kv-transfer": (options.kv_transfer, ("profile", "mooncake")),
        "fault": (options.fault, (None, *(fault.value for fault in Fault))),
    }
    for name, (value, valid) in choices.items():
        if value not in valid:
            words = [word for word in valid if word is not None]
            meant = nearest(str(value), words)
            raise InputError(f"--{name} '{value}', expected one of: {', '.join(words)}{meant}")
    slowest = NUMBER.value
    if not 1.0 / slowest <= options.time_scale <= slowest:
        raise InputError(
            f"--time-scale {options.time_scale:g}, expected a number from {1.0 / slowest:g} to {slowest:g}"
        )
    if options.port_base and not 1024 <= options.port_base <= 65_530:
        raise InputError(f"--port-base {options.port_base}, expected 0 (free ports) or 1024 to 65530")
    if options.kv_pool_tokens is not None:
        if options.kv_pool_tokens < 1024:
            raise InputError(f"--kv-pool-tokens {options.kv_pool_tokens}, expected at least 1024")
        COUNT.check(options.kv_pool_tokens, "--kv-pool-tokens")


def check_libraries(options: StackOptions) -> None:
    """Say before anything is started that a library is missing.

    Raises
    ------
    EnvironmentProblem
        Naming it.
    """
    extras.require("aiohttp", by="a stand-in server")
    if options.router != "none" and options.mode != "unified":
        extras.require("sglang_router", by="the router", instead="start without one: --router none")
    if options.kv_transfer == "mooncake":
        extras.require("mooncake", by="--kv-transfer mooncake")


def _ports(base: int) -> Mapping[str, int]:
    names = ("router", "prefill", "decode", "unified", "bootstrap", "metrics")
    if base:
        return {name: base + number for number, name in enumerate(names)}
    with ExitStack() as held:
        found = {}
        for name in names:
            place = held.enter_context(socket.socket())
            place.bind((HOST, 0))
            found[name] = place.getsockname()[1]
        return found


def _quiet_environment() -> dict[str, str]:
    """Keep a proxy of the user out of requests to this host; the router asks for it in several ways."""
    return {"NO_PROXY": "*", "no_proxy": "*"}


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """Return how a process ended, None while it runs; it is not collected, so that its pid stays its own."""
    if process.returncode is not None:
        return process.returncode
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a process's group, unless the process was collected: then the number may be another group's."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
