"""What this machine is, as a profile says it: host, GPUs, the links between them, the model."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from ppdsim.machine.model_config import read_model
from ppdsim.machine.nvml import active_lanes, gpu_facts
from ppdsim.measure.finish import Machine
from ppdsim.measure.hardware import gpu_of


def describe_machine(run_id: str, model: Path, *, dummy_weights: bool) -> Machine:
    """Return the description of the machine that this runs on.

    Raises
    ------
    InputError
        If the model folder cannot be read.
    """
    shape = read_model(model, dummy_weights=dummy_weights)
    names = [gpu.name for gpu in gpu_facts()]
    gpu = gpu_of(names[0] if names else "no GPU", len(names))
    cores = os.cpu_count() or 0
    return Machine(
        run_id=run_id,
        name=f"one host, {len(names)} x {names[0] if names else 'no GPU'}, {cores} cores, {platform.system()}",
        gpu=gpu,
        link=_link(len(names)),
        model=shape,
    )


def _link(gpus: int) -> str:
    """Return how the first two GPUs are connected."""
    if gpus < 2:
        return "none: one GPU"
    lanes = active_lanes(0)
    return f"NVLink, {lanes} lanes" if lanes else "PCIe"
