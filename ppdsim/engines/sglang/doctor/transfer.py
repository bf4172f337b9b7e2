"""The KV transfer engine, and the devices that it could use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ppdsim.engines.doctor.finding import Finding, failure, ok, warning
from ppdsim.engines.links import fastest_transport
from ppdsim.engines.sglang.doctor.imports import import_failure
from ppdsim.engines.sglang.doctor.versions import CUDA_13_SINCE, IN_NODE_SINCE, numbers
from ppdsim.machine.host import AbstractMachine
from ppdsim.types import Transport

PACKAGES = ("mooncake-transfer-engine-cuda13", "mooncake-transfer-engine", "mooncake-transfer-engine-non-cuda")
"""For CUDA 13, for CUDA 12, and without CUDA (host memory only)."""
INFINIBAND = Path("/sys/class/infiniband")
USE_TCP = "export MC_FORCE_TCP=1 MC_TCP_ENABLE_CONNECTION_POOL=1  # ppdsim serve --transport tcp sets them"


def check_mooncake(machine: AbstractMachine) -> list[Finding]:
    """Return which of mooncake's packages is installed, whether it fits the engine, and whether it really imports."""
    sglang, wanted = machine.version("sglang"), wanted_package(machine)
    installed = installed_package(machine)
    if installed is None:
        return [failure("mooncake", "not installed", f"pip install {wanted}")]
    name, version = installed
    # The engine imports torch first, which brings the CUDA libraries that mooncake links.
    first = () if machine.version("torch") is None else ("torch",)
    error = machine.import_error(*first, "mooncake.engine")
    if error is not None:
        return [import_failure("mooncake", f"{name} {version}", error, f"pip install --force-reinstall {wanted}")]
    if sglang is not None and name != wanted:
        return [warning("mooncake", f"{name} {version}; SGLang {sglang} goes with {wanted}", f"pip install {wanted}")]
    return [ok("mooncake", f"{name} {version}, imports")]


def check_rdma(machine: AbstractMachine) -> list[Finding]:
    """Return the InfiniBand and RoCE devices."""
    devices = rdma_devices(machine)
    if devices:
        return [ok("rdma", ", ".join(devices))]
    within = fastest_transport(first_pair(machine), nvlink_lanes=usable_lanes(machine), rdma=False)
    if within is Transport.NVLINK:
        # To force TCP here would give up the link that is there.
        return [ok("rdma", "no RDMA devices: hand-offs within this host go by NVLink; to another one they need TCP")]
    lacks = ("no GPU seen", "one GPU, which no NVLink joins to itself", "no NVLink that joins GPUs 0 and 1")
    other = lacks[min(len(machine.gpus()), 2)]
    return [warning("rdma", f"no RDMA devices, and {other}: hand-offs go by TCP", USE_TCP)]


def first_pair(machine: AbstractMachine) -> list[tuple[int, int]]:
    """Return the GPUs that P and D would take, of those that are there: the first two, the one they share, or none."""
    count = len(machine.gpus())
    return [(0, min(1, count - 1))] if count else []


def rdma_devices(machine: AbstractMachine) -> tuple[str, ...]:
    """Return the names of the RDMA devices."""
    return machine.listing(INFINIBAND)


def wanted_package(machine: AbstractMachine) -> str:
    """Return which of mooncake's packages goes with the SGLang that is installed, or to be installed."""
    sglang = machine.version("sglang")
    return PACKAGES[0] if sglang is None or numbers(sglang) >= numbers(CUDA_13_SINCE) else PACKAGES[1]


def installed_package(machine: AbstractMachine) -> tuple[str, str] | None:
    """Return name and version of the mooncake that is installed."""
    return next(((name, version) for name in PACKAGES if (version := machine.version(name)) is not None), None)


def has_in_node_mode(machine: AbstractMachine) -> bool:
    """Return whether mooncake can copy KV inside this host from GPU to GPU; one still to be installed can."""
    installed = installed_package(machine)
    if installed is None:
        return True
    name, version = installed
    return name != PACKAGES[2] and numbers(version) >= numbers(IN_NODE_SINCE)


def usable_lanes(machine: AbstractMachine) -> Mapping[tuple[int, int], int]:
    """Return the NVLink lanes by pair of GPUs; none where this mooncake could not use them."""
    return machine.nvlink_lanes() if has_in_node_mode(machine) else {}
