"""What is asked of NVML, on a library in its place: two GPUs behind a switch or joined, one of them taken."""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from ppdsim.machine.host import ThisMachine
from ppdsim.machine.nvml import GpuUser
from ppdsim.machine.sampler import MachineSampler
from ppdsim.measure.machine import describe_machine

LANES = 18


class NVMLError(Exception):
    """What NVML says no with."""


def library(*, driver: str | None = "580.95.05", gpus: int = 2, other_end: str | None = None) -> ModuleType:
    """Return a pynvml of `gpus` H100s; lanes of the first end at `other_end`, by default at a switch."""

    def asked(answer):
        if driver is None:
            raise NVMLError
        return answer

    def lane(gpu, number):
        if number >= LANES:
            raise NVMLError
        return 1

    def hidden(*_):
        raise NVMLError

    module = ModuleType("pynvml")
    module.NVMLError = NVMLError
    module.NVML_CLOCK_SM, module.NVML_CLOCK_MEM, module.NVML_TEMPERATURE_GPU = 1, 2, 0
    module.NVML_NVLINK_MAX_LINKS = 24
    module.nvmlInit = lambda: asked(None)
    module.nvmlSystemGetDriverVersion = lambda: driver
    module.nvmlDeviceGetCount = lambda: gpus
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    module.nvmlDeviceGetName = lambda gpu: "NVIDIA H100 80GB HBM3"
    module.nvmlDeviceGetMemoryInfo = lambda gpu: SimpleNamespace(total=80 * 2**30, free=(79 - 70 * gpu) * 2**30)
    module.nvmlDeviceGetCudaComputeCapability = lambda gpu: (9, 0)
    module.nvmlDeviceGetClockInfo = lambda gpu, clock: 1410 if clock == 1 else 2619
    module.nvmlDeviceGetMaxClockInfo = lambda gpu, clock: 1980
    module.nvmlDeviceGetTemperature = lambda gpu, sensor: 35
    module.nvmlDeviceGetPowerUsage = lambda gpu: 70_500
    # Some machines hide single values.
    module.nvmlDeviceGetCurrentClocksThrottleReasons = hidden
    module.nvmlDeviceGetComputeRunningProcesses = lambda gpu: (
        [SimpleNamespace(pid=os.getpid(), usedGpuMemory=70 * 2**30)] if gpu else []
    )
    module.nvmlSystemGetProcessName = lambda pid: b"sglang::scheduler"
    module.nvmlDeviceGetPciInfo = lambda gpu: SimpleNamespace(busId=f"bus {gpu}")
    module.nvmlDeviceGetNvLinkState = lane
    module.nvmlDeviceGetNvLinkRemotePciInfo = lambda gpu, number: SimpleNamespace(busId=other_end or "a switch")
    return module


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch):
    return lambda **options: monkeypatch.setitem(sys.modules, "pynvml", library(**options))


def test_a_gpu_is_described_with_who_is_on_it(nvml, monkeypatch):
    nvml()
    monkeypatch.setattr("ppdsim.machine.nvml.log_of", lambda pid: None)
    first, second = ThisMachine().gpus()
    assert (first.name, first.compute_capability) == ("NVIDIA H100 80GB HBM3", "9.0")
    assert (first.sm_mhz, first.max_sm_mhz) == (1410, 1980)
    assert (first.free_bytes, first.users) == (79 * 2**30, ())
    assert (second.free_bytes, second.users) == (9 * 2**30, (GpuUser(pid=os.getpid(), name="sglang::scheduler"),))
    assert ThisMachine().driver() == "580.95.05"


@pytest.mark.parametrize("other_end", [None, "bus 1"], ids=["a switch", "the other GPU"])
def test_lanes_are_counted_by_pair(nvml, other_end):
    nvml(other_end=other_end)
    assert ThisMachine().nvlink_lanes() == {(0, 1): LANES}


@pytest.mark.parametrize("driver", [None, "535.129.03"])
def test_without_gpus_or_a_driver_nothing_is_seen_and_nothing_fails(nvml, driver):
    nvml(driver=driver, gpus=0)
    machine = ThisMachine()
    assert (machine.gpus(), dict(machine.nvlink_lanes()), machine.driver()) == ((), {}, driver)


def test_a_run_describes_and_watches_the_same_gpus(nvml, tmp_path, monkeypatch):
    nvml()
    monkeypatch.setattr("ppdsim.measure.machine.read_model", lambda *_, **__: None)
    machine = describe_machine("id", tmp_path, dummy_weights=True)
    assert machine.name.startswith("one host, 2 x NVIDIA H100 80GB HBM3, ")
    assert (machine.gpu.name, machine.gpu.count, machine.link) == ("NVIDIA H100 80GB HBM3", 2, "NVLink, 18 lanes")
    first, second = MachineSampler(servers_were_there=False).sample().gpus
    assert first == {"sm_mhz": 1410, "memory_mhz": 2619, "temperature_c": 35, "power_w": 70.5, "used_by": []}
    (user,) = second["used_by"]
    assert (user["pid"], user["name"], user["memory_bytes"]) == (os.getpid(), "sglang::scheduler", 70 * 2**30)
    # Nobody started it here; of servers that ran already, who is there first is taken for them.
    assert (user["ours"], user["shown"]) == (False, True)
    (user,) = MachineSampler(servers_were_there=True).sample().gpus[1]["used_by"]
    assert user["ours"]
