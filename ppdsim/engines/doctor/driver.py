"""The NVIDIA driver, and whether NVML can be asked about its GPUs: two things that fail in different ways."""

from __future__ import annotations

import re
from pathlib import Path

from ppdsim.engines.doctor.finding import Finding, failure, ok, warning
from ppdsim.machine.host import AbstractMachine

KERNEL_MODULE = Path("/proc/driver/nvidia/version")
NVML_LIBRARY = "ctypes.CDLL('libnvidia-ml.so.1')"
"""Loads what the driver installs for NVML; a machine without a driver has none."""
INSTALL_DRIVER = "apt-get install -y nvidia-driver-580  # on a machine with a GPU; then reboot"
INSTALL_NVML = "pip install nvidia-ml-py"


def check_driver(machine: AbstractMachine) -> list[Finding]:
    """Return the driver's version, and why NVML does not answer where a driver is there."""
    answered = machine.driver()
    if answered is not None:
        return [ok("driver", answered)]
    if not has_driver(machine):
        return [failure("driver", "no NVIDIA driver", INSTALL_DRIVER)]
    version = driver_version(machine) or "of unknown version"
    if not has_nvml(machine):
        return [warning("driver", f"{version}; nvidia-ml-py is not installed, so GPUs cannot be seen", INSTALL_NVML)]
    found = f"{version}, but NVML does not answer: driver and library of different versions, or no access to the GPUs"
    return [failure("driver", found, "nvidia-smi  # says which; after an update of the driver: reboot")]


def driver_version(machine: AbstractMachine) -> str | None:
    """Return the driver's version from NVML, or from its kernel module."""
    answered = machine.driver()
    if answered is not None:
        return answered
    found = re.search(r"\s(\d{3,}\.\d+(?:\.\d+)?)\s", machine.read(KERNEL_MODULE) or "")
    return None if found is None else found.group(1)


def has_driver(machine: AbstractMachine) -> bool:
    """Return whether there is a driver, NVML or not."""
    return machine.driver() is not None or bool(machine.read(KERNEL_MODULE)) or bool(machine.evaluate(NVML_LIBRARY))


def has_nvml(machine: AbstractMachine) -> bool:
    """Return whether Python can ask NVML (the package nvidia-ml-py)."""
    return machine.import_error("pynvml") is None
