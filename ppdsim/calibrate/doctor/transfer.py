"""The KV transfer engine, and the devices that it could use."""

from __future__ import annotations

from pathlib import Path

from ppdsim.calibrate.doctor.finding import Finding, failure, ok, warning
from ppdsim.calibrate.doctor.machine import AbstractMachine
from ppdsim.calibrate.doctor.versions import CUDA_13_SINCE, numbers
from ppdsim.calibrate.troubles import recognise

PACKAGES = ("mooncake-transfer-engine-cuda13", "mooncake-transfer-engine", "mooncake-transfer-engine-non-cuda")
"""For CUDA 13, for CUDA 12, and without CUDA (host memory only)."""
INFINIBAND = Path("/sys/class/infiniband")
USE_TCP = "take --transport tcp  # MC_FORCE_TCP=1 MC_TCP_ENABLE_CONNECTION_POOL=1"


def check_mooncake(machine: AbstractMachine) -> list[Finding]:
    """Return which of mooncake's packages is installed, whether it fits the engine, and whether it really imports."""
    installed = [(name, version) for name in PACKAGES if (version := machine.version(name)) is not None]
    sglang = machine.version("sglang")
    new = sglang is not None and numbers(sglang) >= numbers(CUDA_13_SINCE)
    wanted = PACKAGES[0] if new else PACKAGES[1]
    if not installed:
        return [failure("mooncake", "not installed", f"pip install {wanted}")]
    name, version = installed[0]
    error = machine.import_error("mooncake.engine")
    if error is not None:
        trouble = recognise(error)
        last = error.strip().splitlines()[-1][:200] if error.strip() else "no message"
        reason = last if trouble is None else f"{trouble.reason} ({last})"
        mend = f"pip install --force-reinstall {wanted}" if trouble is None else trouble.mend
        return [failure("mooncake", f"{name} {version} does not import: {reason}", mend)]
    if sglang is not None and name != wanted:
        return [warning("mooncake", f"{name} {version}; SGLang {sglang} goes with {wanted}", f"pip install {wanted}")]
    return [ok("mooncake", f"{name} {version}, imports")]


def check_rdma(machine: AbstractMachine) -> list[Finding]:
    """Return the InfiniBand and RoCE devices."""
    devices = rdma_devices(machine)
    if devices:
        return [ok("rdma", ", ".join(devices))]
    return [warning("rdma", "no RDMA devices: hand-offs within the host by NVLink, between hosts by TCP", USE_TCP)]


def rdma_devices(machine: AbstractMachine) -> tuple[str, ...]:
    """Return the names of the RDMA devices."""
    return machine.listing(INFINIBAND)
