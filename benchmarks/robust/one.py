"""Run one command line in a process of its own, with bounds, and say what became of it."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robust.inputs import Case

MOST_S = 60.0
"""Wall time that a case may take [s]; the machine may be busy, so CPU time is judged separately."""
ADDRESS_SPACE_BYTES = 6 * 2**30
MIB = 2**20
IMPORTS = (
    "numpy",
    "orjson",
    "pydantic",
    "ruamel.yaml",
    "ppdsim.cli.app",
    "ppdsim.predict",
    "ppdsim.scenario",
    "ppdsim.profile",
    "ppdsim.simulation.run",
    "ppdsim.cli.run_folder",
    "ppdsim.measurements",
    "ppdsim.measure.plan",
)
"""What nearly every command imports; loaded once, before processes are forked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a case; `wrong` says in a word what must not be, or nothing."""

    name: str
    code: int
    cpu_s: float
    rss_mib: float
    said: str
    wrong: str


def preload() -> None:
    """Import what commands need, so that a fork has it."""
    for name in IMPORTS:
        __import__(name)


def run_case(case: Case) -> Outcome:
    """Run a case in a folder of its own and judge it."""
    folder = Path(tempfile.mkdtemp(prefix="robust-"))
    try:
        case.make(folder)
        before = {path.relative_to(folder) for path in folder.rglob("*")}
        code, cpu_s, rss_mib, out, err = forked([part.replace("{out}", "out") for part in case.command], folder)
        after = {path.relative_to(folder) for path in folder.rglob("*")} - before
        return Outcome(
            name=case.name,
            code=code,
            cpu_s=cpu_s,
            rss_mib=rss_mib,
            said=(err.strip().splitlines() or [""])[-1][:300],
            wrong=_wrong(case, code, out, err, {str(path) for path in after}),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wrong(case: Case, code: int, out: str, err: str, new: set[str]) -> str:
    if "Traceback (most recent call last)" in out + err or code == TRACEBACK:
        return "traceback"
    if code == TOO_LONG:
        return "over a minute"
    if any(not (c.isprintable() or c in "\n\t") for c in out + err):
        return "raw controls"
    if code == 0:
        halves = [name for name in new if re.search(r"(^|/)\.(?!ppdsim-run)", name)]
        return "partial output" if halves else "" if case.harmless else "wrongly accepted"
    if code not in (2, 3) or (code == 3 and "in /proc" not in case.name):
        return f"exit code {code}"
    if out.strip() or len([line for line in err.splitlines() if line.startswith("error: ")]) != 1:
        return "not one line"
    return "partial output" if new else ""


TRACEBACK, TOO_LONG = 111, 112


def forked(arguments: Sequence[str], folder: Path) -> tuple[int, float, float, str, str]:
    """Return exit code, CPU seconds, peak memory [MiB], stdout and stderr of a command line."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            _child(arguments, folder, out.fileno(), err.fileno())
        code, cpu_s, rss_mib = _waited(pid)
        out.seek(0)
        err.seek(0)
        return code, cpu_s, rss_mib, out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace")


def _child(arguments: Sequence[str], folder: Path, out: int, err: int) -> None:
    code = TRACEBACK
    try:
        os.setsid()
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape")
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="surrogateescape")
        from ppdsim.cli.app import run

        code = run(list(arguments))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _waited(pid: int) -> tuple[int, float, float]:
    end_s = time.monotonic() + MOST_S
    too_long = False
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            code = TOO_LONG if too_long else os.waitstatus_to_exitcode(status)
            return code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024.0
        if time.monotonic() > end_s and not too_long:
            too_long = True
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.003)
