"""One server's process: in a session of its own, its log in a file; asked for its health, and its end explained.

The kernel kills the process when this one dies without a word (``PR_SET_PDEATHSIG``, Linux), unless it is to outlive
it. That takes the end of the thread that started it for the end of the process.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ppdsim.engines.launch.shell import environment
from ppdsim.engines.launch.specs import ServerSpec
from ppdsim.engines.logs import tail
from ppdsim.errors import EnvironmentProblem
from ppdsim.machine.ports import answers
from ppdsim.machine.process_tree import LOG, MARK, Family, identity_of

HEALTH_TIMEOUT_S = 5.0
"""Bound on one answer [s]; the engine's takes a second, because it generates a token."""
LINGER_S = 3.0
"""How long a server with a known issue that it cannot get over may take to end [s], so that its exit code is known."""
PR_SET_PDEATHSIG = 1


class Server:
    """A started server: `log` is its file, `family` all of its processes, `ready` whether it was healthy once."""

    def __init__(self, spec: ServerSpec, log: Path, *, outlives: bool) -> None:
        """Start it.

        Parameters
        ----------
        spec : ServerSpec
            What to start.
        log : Path
            File for its output.
        outlives : bool
            Whether it may go on when this process dies.

        Raises
        ------
        EnvironmentProblem
            If its program cannot be started.
        """
        self.spec = spec
        self.log = log
        self.mark = secrets.token_hex(8)
        self.begin_s = time.monotonic()
        self.ready = False
        self._doomed_s: float | None = None
        # The engine prints all of its arguments there, keys among them.
        log.unlink(missing_ok=True)
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
            try:
                self.popen = subprocess.Popen(  # noqa: S603
                    spec.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=None if outlives else death_signal(),  # noqa: PLW1509 - one system call, no lock
                    env={**environment(spec, os.environ), MARK: self.mark, LOG: str(log.resolve())},
                )
            except OSError as error:
                raise EnvironmentProblem(f"{spec.name}: {spec.argv[0]}: {error.strerror}") from None
        self.family = Family(identity_of(self.popen.pid), self.mark)

    @property
    def age_s(self) -> float:
        """Time since it was started [s]."""
        return time.monotonic() - self.begin_s

    def last_line(self) -> str:
        """Return the last line of its log."""
        lines = self._lines()
        return lines[-1] if lines else ""

    def healthy(self) -> bool:
        """Ask for its health; also remember which processes it has by now."""
        self.family.look()
        answered = answers(self.spec.host, self.spec.port, self.spec.health_path, timeout_s=HEALTH_TIMEOUT_S)
        self.ready = self.ready or answered
        return answered

    def failure(self) -> str | None:
        """Say in one line why it will not serve any more; None while it may.

        A process that lives but cannot get over what its log shows is given a moment to end, then given up.
        """
        code = self.popen.poll()
        if code is not None:
            return f"{self.spec.name} ended with {_in_words(code)} after {self.age_s:.0f} s: {self._explained(code)}"
        # A healthy server has got over whatever its log shows; what comes later, its requests show.
        found = None if self.ready else self.spec.known_issues.decisive(self._lines())
        if found is None:
            self._doomed_s = None
            return None
        if self._doomed_s is None:
            self._doomed_s = time.monotonic()
        if time.monotonic() - self._doomed_s < LINGER_S:
            return None
        return f"{self.spec.name} cannot start: {found}; log: {self.log}"

    def not_ready(self, bound_s: float) -> str:
        """Say in one line that it was not ready in time."""
        return f"{self.spec.name} was not healthy within {bound_s:g} s: {self._explained(None)}"

    def _lines(self) -> list[str]:
        return tail(self.log)

    def _explained(self, code: int | None) -> str:
        return f"{self.spec.known_issues.cause(self._lines(), code)}; log: {self.log}"


def _in_words(code: int) -> str:
    if code >= 0:
        return f"code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def death_signal() -> Callable[[], None] | None:
    """Return what asks the kernel, between fork and exec, to kill the process when its parent dies."""
    try:
        prctl = ctypes.CDLL(None).prctl
    except (AttributeError, OSError):
        return None

    def ask() -> None:
        with suppress(OSError):
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    return ask
