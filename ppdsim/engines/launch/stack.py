"""Servers that run while a block runs: ``with Stack(specs, log_dir=...) as stack``.

Waves start one after another; each server must be healthy before the next wave. The router starts in the last wave,
beside engines, and is asked for its health once they are healthy. Whatever happens (success, an error, Ctrl-C, SIGTERM,
SIGHUP, the end of the interpreter), everything that was started is taken down: process groups and what left them. If
this process is killed outright, the kernel kills the servers, and ``servers.json`` still tells ``ppdsim serve --stop``
about the rest.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType

from ppdsim.engines.client import Endpoints
from ppdsim.engines.launch import state
from ppdsim.engines.launch.process import Server
from ppdsim.engines.launch.shutdown import still_held, take_down
from ppdsim.engines.launch.specs import Role, ServerSpec, endpoints_of
from ppdsim.errors import EnvironmentProblem
from ppdsim.machine.ports import is_free
from ppdsim.machine.signals import Interrupts

POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What happens to a server: ``starting``, ``waiting``, ``ready``, ``stopping`` or ``stopped``.

    `after_s` counts from its start [s]; `line` is the last of its log so far.
    """

    name: str
    phase: str
    after_s: float = 0.0
    line: str = ""


class Stack:
    """The servers of `specs`; their logs and ``servers.json`` are in `log_dir`.

    With `keep_running` the servers stay when the block ends without an error.
    """

    def __init__(
        self,
        specs: Sequence[ServerSpec],
        *,
        log_dir: Path,
        progress: Callable[[Progress], None] = lambda _: None,
        keep_running: bool = False,
        start_timeout_s: float = 900.0,
        stop_timeout_s: float = 15.0,
    ) -> None:
        self.specs = tuple(specs)
        self.servers: dict[str, Server] = {}
        self._log_dir = log_dir
        self._progress = progress
        self._keep_running = keep_running
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._interrupts = Interrupts()

    @property
    def urls(self) -> dict[str, str]:
        """Where each server answers, by name."""
        return {spec.name: spec.url for spec in self.specs}

    @property
    def endpoints(self) -> dict[str, Endpoints]:
        """Where requests can go, as the driver wants it: ``pd`` and each unified server by name."""
        return endpoints_of(self.specs)

    def __enter__(self) -> Stack:
        """Start everything and wait until it is healthy.

        Raises
        ------
        EnvironmentProblem
            If a port is taken, servers of the folder still run, or a server ends or is not healthy in time; the message
            has the reason found in its log.
        """
        self._log_dir.mkdir(parents=True, exist_ok=True)
        state.refuse_if_running(self._log_dir)
        self._interrupts.take()
        atexit.register(self._at_exit)
        try:
            with self._interrupts.raising():
                for _, members in groupby(self.specs, key=lambda spec: spec.wave):
                    wave = list(members)
                    for spec in wave:
                        self._start(spec)
                    self._wait([spec.name for spec in wave])
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take everything down, or leave it if that was asked for and nothing failed.

        Raises
        ------
        EnvironmentProblem
            If a process or a port is left over.
        """
        if self._keep_running and kind is None:
            # With the processes that they have by now.
            for server in self.servers.values():
                server.family.look()
            state.write(self._log_dir, self.servers.values())
            atexit.unregister(self._at_exit)
            self._interrupts.give_back()
            return
        left, held = self._end()
        if kind is None:
            state.complain(left, held)

    def failure(self) -> str | None:
        """Say in one line which server failed, and why; None while all serve."""
        return next((text for server in self.servers.values() if (text := server.failure()) is not None), None)

    def stop(self) -> tuple[list[int], list[int]]:
        """Take everything down and return the pids and the ports that are left, both empty when all is well."""
        if not self.servers:
            return [], []
        with self._interrupts.shielded():
            servers = list(self.servers.values())
            for server in servers:
                self._progress(Progress(name=server.spec.name, phase="stopping", after_s=server.age_s))
            left = take_down(
                [server.family for server in reversed(servers)],
                grace_s=self._stop_timeout_s,
                hurried=lambda: self._interrupts.pending > 0,
                reap=self._reap,
            )
            # The last look found them ended, perhaps not yet collected.
            self._reap()
            # A port that somebody else took, so that the server could not start, is none of ours.
            held = still_held(
                (server.spec.host, port) for server in servers if server.ready for port in server.spec.held_ports
            )
            if not left:
                self.servers = {}
                state.write(self._log_dir, [])
            for server in servers:
                self._progress(Progress(name=server.spec.name, phase="stopped", after_s=server.age_s))
        return left, held

    def _start(self, spec: ServerSpec) -> None:
        for port in spec.held_ports:
            if not is_free(spec.host, port):
                raise EnvironmentProblem(
                    f"{spec.name}: port {port} is taken; find who listens there (ss -ltnp), or choose another port"
                )
        self._progress(Progress(name=spec.name, phase="starting"))
        with self._interrupts.shielded():
            log = self._log_dir / spec.log_name
            self.servers[spec.name] = Server(spec, log, outlives=self._keep_running)
            state.write(self._log_dir, self.servers.values())

    def _wait(self, names: list[str]) -> None:
        until_s = time.monotonic() + self._start_timeout_s
        waiting = [self.servers[name] for name in names]
        while waiting:
            failure = self.failure()
            if failure is not None:
                raise EnvironmentProblem(failure)
            engines = [server for server in waiting if server.spec.role is not Role.ROUTER]
            for server in list(waiting):
                # A router is ready after its workers, and writes a line a question into its log.
                if (server in engines or not engines) and server.healthy():
                    waiting.remove(server)
                    phase = "ready"
                else:
                    phase = "waiting"
                line = server.last_line()
                self._progress(Progress(name=server.spec.name, phase=phase, after_s=server.age_s, line=line))
            if waiting and time.monotonic() > until_s:
                raise EnvironmentProblem(waiting[0].not_ready(self._start_timeout_s))
            time.sleep(POLL_S if waiting else 0.0)

    def _reap(self) -> None:
        for server in self.servers.values():
            server.popen.poll()

    def _end(self) -> tuple[list[int], list[int]]:
        try:
            return self.stop()
        finally:
            atexit.unregister(self._at_exit)
            self._interrupts.give_back()

    def _at_exit(self) -> None:
        """Take down what an interrupt between two statements left up."""
        self.stop()
