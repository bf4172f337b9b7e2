"""Kill commands at random times: no half file, no process that is left, and the same command then gives the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from measure.fault_server import FaultyServer, command
from robust.kinds import MEASURED

SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
APPENDED = ("points.jsonl", "skipped.jsonl", "machine.jsonl")
"""Files that a run adds lines to; a torn last line is dropped when it goes on."""
OWN = (".ppdsim-run.json", ".ppdsim-lock", ".lock")
EARLIEST_S = 0.2
"""Earliest kill [s]: before, it is Python that starts, and not a command."""
ENDED_S = 60.0
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "simulate": ("simulate", "one-pair", "--set", "workload.conversations=1500", "-o", "out"),
    "sweep": (
        *("sweep", "one-pair", "--grid", "page_size=1,64", "--seeds", "2", "--jobs", "2"),
        *("--set", "workload.conversations=300", "-o", "out"),
    ),
    "crossover": (
        *("crossover", "cache-rate", "--set", "crossover.draws=1", "--set", "crossover.total_tokens=[2048]"),
        *("--set", "crossover.cache_rates=[0.5]", "--set", "crossover.turns=10"),
        *("--set", "crossover.fixed_cached_tokens=[1024]", "-o", "out"),
    ),
    "fit": ("fit", str(MEASURED), "-o", "out/profile.json"),
    "calibrate": (),
}
"""What is killed; a calibration joins a stand-in server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An undisturbed run: how long it took, and what it wrote."""

    took_s: float
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill: what was killed, by which signal, when, and what was wrong after it (nothing, if all was right)."""

    name: str
    wrong: str
    said: str


def reference(name: str) -> Reference:
    """Run a command to its end."""
    with tempfile.TemporaryDirectory() as place, _server(name) as server:
        folder = Path(place)
        begin_s = time.monotonic()
        process = _start(_arguments(name, server, folder), folder)
        _, err = process.communicate()
        assert process.returncode == 0, err
        return Reference(took_s=time.monotonic() - begin_s, files=_files(folder / "out"))


def kill(name: str, number: int, expected: Reference, seed: int) -> Kill:
    """Kill a command once, and run it again."""
    rng = random.Random(f"{seed} {name} {number}")  # noqa: S311  (times of kills, not secrets)
    sign = SIGNALS[number % len(SIGNALS)]
    after_s = rng.uniform(EARLIEST_S, expected.took_s)
    with tempfile.TemporaryDirectory() as place, _server(name) as server:
        folder = Path(place)
        process = _start(_arguments(name, server, folder), folder)
        try:
            _, err = process.communicate(timeout=after_s)
        except subprocess.TimeoutExpired:
            (os.killpg if sign is signal.SIGINT else os.kill)(process.pid, sign)
            try:
                _, err = process.communicate(timeout=ENDED_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                _, err = process.communicate()
                err += "did not end"
        wrong = _wrong(process, err, sign, folder / "out", expected, name)
        if not wrong:
            wrong, err = _again(name, server, folder, expected)
        said = (err.strip().splitlines() or [""])[-1][:200]
        return Kill(name=f"{name}, {sign.name} after {after_s:.1f} s", wrong=wrong, said=said)


def _wrong(
    process: subprocess.Popen[str], err: str, sign: signal.Signals, out: Path, expected: Reference, name: str
) -> str:
    if "Traceback" in err:
        return "traceback"
    if "did not end" in err:
        return "over a minute"
    if process.returncode not in (0, -signal.SIGKILL if sign is signal.SIGKILL else 130):
        return f"exit code {process.returncode}"
    if not _gone(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
        return "a process is left"
    found = _files(out)
    for file, content in found.items():
        base = file.rsplit("/", 1)[-1]
        if base.startswith(".") and base not in OWN:
            if sign is not signal.SIGKILL:
                return f"scratch file {file}"
        elif base not in APPENDED and not _whole(base, content):
            return f"half file {file}"
    if name in ("simulate", "fit") and not _agrees(found, expected.files):
        return "a file that differs"
    return ""


def _agrees(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> bool:
    return all(found[file] == expected[file] for file in found.keys() & expected.keys() if not file.startswith("."))


def _again(name: str, server: FaultyServer | None, folder: Path, expected: Reference) -> tuple[str, str]:
    arguments = _arguments(name, server, folder)
    if name == "calibrate" and (folder / "out").exists():
        arguments = [*arguments, "--resume"]
    if name == "fit":
        # The signal may have come when the profile was written: then a second fit replaces it.
        arguments = [*arguments, "--force"]
    process = _start(arguments, folder)
    _, err = process.communicate()
    if process.returncode != 0:
        return f"run again: exit code {process.returncode}", err
    found = _files(folder / "out")
    for file, content in expected.files.items():
        if file not in found:
            return f"run again: no {file}", err
        # What a live run measures are times.
        if name != "calibrate" and not file.startswith(".") and content != found[file]:
            return f"run again: another {file}", err
    return "", err


def _arguments(name: str, server: FaultyServer | None, folder: Path) -> list[str]:
    if server is None:
        return list(COMMANDS[name])
    return command(server.url, folder)


def _server(name: str) -> FaultyServer | nullcontext[None]:
    return FaultyServer(None) if name == "calibrate" else nullcontext()


def _start(arguments: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ppdsim", *arguments],
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _files(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def _whole(name: str, content: bytes) -> bool:
    if name.endswith(".json"):
        try:
            json.loads(content)
        except ValueError:
            return False
        return True
    return content.rstrip().endswith(b"</html>") if name.endswith(".html") else content.endswith(b"\n") or not content


def _gone(group: int) -> bool:
    """Wait up to ten seconds for the processes of a group to end."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
