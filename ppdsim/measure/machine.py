"""What this machine is, as a profile says it: host, GPUs, the links between them, the model."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from ppdsim.machine.hardware import known_gpu
from ppdsim.machine.model_config import read_model
from ppdsim.machine.nvml import active_lanes, gpu_facts
from ppdsim.measure.finish import Machine
from ppdsim.measurements import Gpu

BEYOND_BYTES_PER_S, BEYOND_FLOPS_PER_S = 2e13, 1e16
"""Limits that no GPU of 2026 reaches, so that no first token is refused for lack of a data sheet."""
UNKNOWN = "no data sheet: limits that no GPU of 2026 reaches"


def gpu_of(name: str, count: int) -> Gpu:
    """Return a GPU's record: no first token can be faster than its data sheet (calibration/hardware.yaml) allows.

    >>> gpu_of("NVIDIA H200", 2).memory_bandwidth_bytes_per_s
    4800000000000.0
    """
    known = known_gpu(name)
    return Gpu(
        name=name,
        count=count,
        memory_bandwidth_bytes_per_s=BEYOND_BYTES_PER_S if known is None else known.memory_bandwidth_bytes_per_s,
        peak_flops_per_s=BEYOND_FLOPS_PER_S if known is None else known.bf16_flops_per_s,
        limits_source="no data sheet: limits that no GPU of 2026 reaches"
        if known is None
        else "calibration/hardware.yaml",
        multiprocessors=None if known is None else known.multiprocessors,
    )


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
