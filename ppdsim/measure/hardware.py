"""Limits of known GPUs, from their data sheets: no first token can be faster than they allow.

For a GPU that is not listed the limits are beyond any GPU of 2026, so that nothing is refused for lack of a number.
Multiprocessors come from calibration/hardware.yaml, which `ppdsim fit` asks too where a manifest has none.
"""

from __future__ import annotations

from ppdsim.machine.hardware import multiprocessors_of
from ppdsim.measurements import Gpu

DATA_SHEETS = {
    # name part: (memory bandwidth [B/s], dense bf16 [FLOP/s], source)
    "H200": (4.8e12, 989e12, "NVIDIA H200 data sheet (SXM, without sparsity)"),
    "H100 PCIE": (2.0e12, 756e12, "NVIDIA H100 data sheet (PCIe, without sparsity)"),
    "H100": (3.35e12, 989e12, "NVIDIA H100 data sheet (SXM, without sparsity)"),
    "A100": (2.039e12, 312e12, "NVIDIA A100 80 GB data sheet (SXM, without sparsity)"),
    "L40S": (864e9, 362e12, "NVIDIA L40S data sheet (without sparsity)"),
}
UNKNOWN = (2e13, 1e16, "not in the table: limits that no GPU of 2026 reaches")


def gpu_of(name: str, count: int) -> Gpu:
    """Return a GPU's record.

    >>> gpu_of("NVIDIA H200", 2).memory_bandwidth_bytes_per_s
    4800000000000.0
    """
    bandwidth, flops, source = next(
        (limits for part, limits in DATA_SHEETS.items() if part in name.upper()),
        UNKNOWN,
    )
    return Gpu(
        name=name,
        count=count,
        memory_bandwidth_bytes_per_s=bandwidth,
        peak_flops_per_s=flops,
        limits_source=source,
        multiprocessors=multiprocessors_of(name),
    )
