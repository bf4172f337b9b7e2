"""What this machine is, as a profile says it: host, GPUs, the links between them, the model."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from ppdsim.calibrate.live.finish import Machine
from ppdsim.calibrate.live.hardware import gpu_of
from ppdsim.machine.model_config import read_model
from ppdsim.machine.sampler import open_gpus


def describe_machine(run_id: str, model: Path, *, dummy_weights: bool) -> Machine:
    """Return the description of the machine that this runs on.

    Raises
    ------
    InputError
        If the model folder cannot be read.
    """
    shape = read_model(model, dummy_weights=dummy_weights)
    names = _gpu_names()
    gpu = gpu_of(names[0] if names else "no GPU", len(names))
    cores = os.cpu_count() or 0
    return Machine(
        run_id=run_id,
        name=f"one host, {len(names)} x {names[0] if names else 'no GPU'}, {cores} cores, {platform.system()}",
        gpu=gpu,
        link=_link(len(names)),
        model=shape,
    )


def _gpu_names() -> list[str]:
    handles = open_gpus()
    if not handles:
        return []
    import pynvml

    return [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]


def _link(gpus: int) -> str:
    """Return how the first two GPUs are connected."""
    if gpus < 2:
        return "none: one GPU"
    import pynvml

    first = open_gpus()[0]

    def active(lane: int) -> int:
        # A GPU has fewer lanes than NVML allows for; asking for one that it lacks is an error.
        try:
            return int(pynvml.nvmlDeviceGetNvLinkState(first, lane))
        except pynvml.NVMLError:
            return 0

    lanes = sum(active(lane) for lane in range(pynvml.NVML_NVLINK_MAX_LINKS))
    return f"NVLink, {lanes} lanes" if lanes else "PCIe"
