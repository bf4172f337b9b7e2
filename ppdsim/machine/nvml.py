"""GPUs through NVML: what `GpuFacts` needs, and lanes between pairs. Everything is empty where NVML is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdsim.machine.process_tree import log_of
from ppdsim.machine.sampler import open_gpus, users_of


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUser:
    """A process on a GPU; `log` is that of the server that it belongs to, None if this package did not start it."""

    pid: int
    name: str = "unknown"
    log: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """One GPU as its driver describes it; memory in bytes, clocks in MHz, `users` are the programs on it."""

    name: str
    memory_bytes: int
    free_bytes: int
    compute_capability: str
    sm_mhz: int
    max_sm_mhz: int
    users: tuple[GpuUser, ...] = ()


def driver_version() -> str | None:
    """Return the driver's version, with or without a GPU; None where NVML does not answer."""
    try:
        import pynvml
    except (ImportError, OSError):
        return None
    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None


def gpu_facts() -> tuple[GpuFacts, ...]:
    """Return every GPU."""
    return tuple(_facts(gpu) for gpu in open_gpus())


def _facts(gpu: Any) -> GpuFacts:
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(gpu)
    return GpuFacts(
        name=str(pynvml.nvmlDeviceGetName(gpu)),
        memory_bytes=int(memory.total),
        free_bytes=int(memory.free),
        compute_capability=f"{major}.{minor}",
        sm_mhz=int(_asked(lambda: pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM), 0)),
        max_sm_mhz=int(_asked(lambda: pynvml.nvmlDeviceGetMaxClockInfo(gpu, pynvml.NVML_CLOCK_SM), 0)),
        users=tuple(GpuUser(pid=pid, name=name, log=log_of(pid)) for pid, name, _ in users_of(gpu)),
    )


def lanes_between() -> Mapping[tuple[int, int], int]:
    """Return active NVLink lanes by pair of GPUs: direct ones, and through a switch to every other GPU."""
    gpus = open_gpus()
    if not gpus:
        return {}
    import pynvml

    bus = {_bus_of(gpu): index for index, gpu in enumerate(gpus)}
    lanes: Counter[tuple[int, int]] = Counter()
    for index, gpu in enumerate(gpus):
        for lane in range(pynvml.NVML_NVLINK_MAX_LINKS):
            if _is_active(gpu, lane):
                other = bus.get(_other_end(gpu, lane))
                # A lane that does not end at another GPU ends at a switch, which reaches all of them.
                for peer in range(len(gpus)) if other is None else (other,):
                    if peer > index:
                        lanes[index, peer] += 1
    return dict(lanes)


def active_lanes(gpu: int) -> int:
    """Return the NVLink lanes of a GPU that are up, wherever they end."""
    import pynvml

    handle = open_gpus()[gpu]
    return sum(_is_active(handle, lane) for lane in range(pynvml.NVML_NVLINK_MAX_LINKS))


def _bus_of(gpu: Any) -> str:
    import pynvml

    return str(_asked(lambda: pynvml.nvmlDeviceGetPciInfo(gpu).busId, gpu))


def _is_active(gpu: Any, lane: int) -> bool:
    import pynvml

    return bool(_asked(lambda: pynvml.nvmlDeviceGetNvLinkState(gpu, lane), 0))


def _other_end(gpu: Any, lane: int) -> str:
    import pynvml

    return str(_asked(lambda: pynvml.nvmlDeviceGetNvLinkRemotePciInfo(gpu, lane).busId, None))


def _asked(query: Callable[[], Any], otherwise: Any) -> Any:
    import pynvml

    try:
        return query()
    except pynvml.NVMLError:
        return otherwise
