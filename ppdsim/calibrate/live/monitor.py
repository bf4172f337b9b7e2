"""Watching the machine while it is measured: clocks, temperature, power, throttling, other GPU processes, busy cores.

Samples go to ``machine.jsonl``, one a second, and are summed up in words for the manifest. Without a GPU only the cores
are watched. A thread does it, so that a busy event loop does not leave holes.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PERIOD_S = 1.0
"""Time between samples [s]."""
MACHINE = "machine.jsonl"
BENIGN_THROTTLING = 0x1
"""NVML's reason bit for an idle GPU, which is not throttling; nvml.h, nvmlClocksEventReasonGpuIdle."""
PROC_STAT = Path("/proc/stat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at the machine; `gpus` has one mapping a GPU."""

    unix_s: float
    busy_share: float | None
    gpus: tuple[dict[str, Any], ...]


class Monitor:
    """A thread that samples the machine into a file; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / MACHINE
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ppdsim-monitor", daemon=True)
        self._samples: list[Sample] = []

    def __enter__(self) -> Monitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10.0)

    def notes(self) -> tuple[str, ...]:
        """Return what the run has to say about its machine, a sentence each."""
        return describe(self._samples)

    def _run(self) -> None:
        gpus = open_gpus()
        before = core_times()
        with self._path.open("a") as file:
            while not self._stop.wait(PERIOD_S):
                now = core_times()
                sample = Sample(
                    unix_s=time.time(), busy_share=busy_share(before, now), gpus=tuple(look(gpu) for gpu in gpus)
                )
                before = now
                self._samples.append(sample)
                file.write(json.dumps({"unix_s": sample.unix_s, "busy": sample.busy_share, "gpus": sample.gpus}) + "\n")
                file.flush()


def describe(samples: list[Sample]) -> tuple[str, ...]:
    """Return sentences on throttling, foreign processes and busy cores."""
    notes: list[str] = []
    busy = [sample.busy_share for sample in samples if sample.busy_share is not None]
    if busy:
        notes.append(f"Host cores were {sum(busy) / len(busy):.0%} busy on average, {max(busy):.0%} at most.")
    for index in range(max((len(sample.gpus) for sample in samples), default=0)):
        looks = [sample.gpus[index] for sample in samples if index < len(sample.gpus)]
        throttled = [look for look in looks if look.get("throttle", 0) & ~BENIGN_THROTTLING]
        if throttled:
            reasons = sorted({f"{look['throttle']:#x}" for look in throttled})
            notes.append(f"GPU {index} THROTTLED in {len(throttled)} of {len(looks)} samples (NVML reasons {reasons}).")
        clocks = [look["sm_mhz"] for look in looks if "sm_mhz" in look]
        if clocks:
            notes.append(f"GPU {index} ran at {min(clocks)} to {max(clocks)} MHz.")
    return tuple(notes)


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
    """Return one GPU's clocks [MHz], temperature [C], power [W], throttle reasons (bits) and processes."""
    import pynvml

    def asked(query: Callable[[], Any]) -> Any:
        # Some machines hide single values; the others are still worth having.
        try:
            return query()
        except pynvml.NVMLError:
            return None

    queries: dict[str, Callable[[], Any]] = {
        "sm_mhz": lambda: pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM),
        "memory_mhz": lambda: pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_MEM),
        "temperature_c": lambda: pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU),
        "power_w": lambda: pynvml.nvmlDeviceGetPowerUsage(gpu) / 1000.0,
        "throttle": lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu),
        "processes": lambda: [process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)],
    }
    found = {name: asked(query) for name, query in queries.items()}
    return {name: value for name, value in found.items() if value is not None}
