"""One look at the machine: how busy its cores are, and of each GPU the clocks, power, throttling and who uses it.

A process on a GPU is ours if it descends from a server that this run started, or is an end of the link that it measures
alone (both carry a mark, or their parents do). Once known for ours it stays so: NVML lists a process that ends for a
moment when it has no mark any more; one that is seen only then is nobody's use. Of servers that ran already nothing is
known but that they were there first: what is on the GPUs at the first look is taken for them. A process that NVML names
and this machine does not show is in another container, and may be either.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdsim.machine.process_tree import PROC, Identity, carries_mark, identity_of, is_ending

PROC_STAT = PROC / "stat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at the machine; `gpus` has one mapping a GPU, with a mapping for each process under ``used_by``."""

    unix_s: float
    busy_share: float | None
    gpus: tuple[dict[str, Any], ...]


class AbstractSampler(ABC):
    """What the monitor asks, over and over."""

    @abstractmethod
    def sample(self) -> Sample:
        """Return how the machine is now, and how busy its cores were since the last look."""


class MachineSampler(AbstractSampler):
    """Looks at /proc and NVML; without a GPU only at the cores."""

    def __init__(self, *, servers_were_there: bool) -> None:
        """Begin; `servers_were_there` says that the servers under test ran before this process did."""
        self._gpus = open_gpus()
        self._cores = core_times()
        self._ours: set[Identity] = set()
        self._there = {pid for gpu in self._gpus for pid, *_ in users_of(gpu)} if servers_were_there else set()

    def sample(self) -> Sample:
        """Look at the cores and at every GPU."""
        before, self._cores = self._cores, core_times()
        return Sample(
            unix_s=time.time(),
            busy_share=busy_share(before, self._cores),
            gpus=tuple({**look(gpu), "used_by": list(self._users(gpu))} for gpu in self._gpus),
        )

    def _users(self, gpu: Any) -> Iterator[dict[str, Any]]:
        for pid, name, memory_bytes in users_of(gpu):
            shown = (PROC / str(pid)).exists()
            if pid in self._there or carries_mark(pid):
                self._ours.add(identity_of(pid))
            # Of one that is gone only the number is left.
            ours = identity_of(pid) in self._ours if shown else pid in {one.pid for one in self._ours}
            if ours or not is_ending(pid):
                yield {
                    "pid": pid,
                    "name": name,
                    "memory_bytes": memory_bytes,
                    "ours": ours,
                    "shown": ours or shown,
                }


def core_times() -> tuple[int, int] | None:
    """Return (busy, total) core time of the host in ticks; None where /proc has none."""
    if not PROC_STAT.exists():
        return None
    fields = [int(value) for value in PROC_STAT.read_text().split("\n", 1)[0].split()[1:]]
    idle = fields[3] + fields[4]
    return sum(fields[:8]) - idle, sum(fields[:8])


def busy_share(before: tuple[int, int] | None, now: tuple[int, int] | None) -> float | None:
    """Return the share of core time that was busy between two looks.

    >>> busy_share((10, 100), (35, 200)), busy_share(None, (1, 2))
    (0.25, None)
    """
    if before is None or now is None or now[1] <= before[1]:
        return None
    return (now[0] - before[0]) / (now[1] - before[1])


def open_gpus() -> list[Any]:
    """Return NVML handles of every GPU; none without NVML or without a driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except (ImportError, OSError):
        return []
    except pynvml.NVMLError:
        return []


def look(gpu: Any) -> dict[str, Any]:
    """Return one GPU's clocks [MHz], temperature [C], power [W] and throttle reasons (bits)."""
    import pynvml

    queries: dict[str, Callable[[], Any]] = {
        "sm_mhz": lambda: pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM),
        "memory_mhz": lambda: pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_MEM),
        "temperature_c": lambda: pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU),
        "power_w": lambda: pynvml.nvmlDeviceGetPowerUsage(gpu) / 1000.0,
        "throttle": lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu),
    }
    found = {name: _asked(query) for name, query in queries.items()}
    return {name: value for name, value in found.items() if value is not None}


def users_of(gpu: Any) -> list[tuple[int, str, int | None]]:
    """Return pid, name and GPU memory [bytes] of each process that computes on a GPU; None where NVML hides it."""
    import pynvml

    running = _asked(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)) or []
    return [(process.pid, _name_of(process.pid), process.usedGpuMemory) for process in running]


def _name_of(pid: int) -> str:
    """Return the name of a process's program as NVML knows it, or this machine; ``unknown`` where neither does."""
    import pynvml

    name = _asked(lambda: pynvml.nvmlSystemGetProcessName(pid))
    return _program(name.decode(errors="replace") if isinstance(name, bytes) else name or _command(pid)) or "unknown"


def _command(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""


def _program(command: str) -> str:
    """Return a program without the folder that it lies in; a title that a process gave itself stays whole.

    >>> _program("/usr/bin/python3.12"), _program("sglang::scheduler TP0")
    ('python3.12', 'sglang::scheduler TP0')
    """
    return Path(command).name if command.startswith("/") else command.strip()


def _asked(query: Callable[[], Any]) -> Any:
    """Return what NVML answers; some machines hide single values, and the others are still worth having."""
    import pynvml

    try:
        return query()
    except pynvml.NVMLError:
        return None
