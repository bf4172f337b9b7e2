"""The GPUs, what else runs on them, and the links between them."""

from __future__ import annotations

from ppdsim.calibrate.doctor.finding import Finding, failure, ok, warning
from ppdsim.calibrate.doctor.machine import AbstractMachine
from ppdsim.calibrate.links import fastest_transport
from ppdsim.types import Transport

GIB = 2**30
BUSY_SHARE = 0.05
"""Share of a GPU's memory in use above which it is not free [1]: the driver itself takes less."""


def check_gpus(machine: AbstractMachine) -> list[Finding]:
    """Return a row a GPU: name, memory, free memory, capability, clocks, other processes."""
    gpus = machine.gpus()
    if not gpus:
        found = "no GPU" if machine.driver() is None else f"driver {machine.driver()}, but no GPU"
        return [failure("gpus", found, "ppdsim fake-stack  # tries everything without a GPU; serving needs one")]
    rows: list[Finding] = []
    for index, gpu in enumerate(gpus):
        used = 1.0 - gpu.free_bytes / gpu.memory_bytes
        text = (
            f"{gpu.name}, {gpu.free_bytes / GIB:.0f} of {gpu.memory_bytes / GIB:.0f} GiB free, compute capability "
            f"{gpu.compute_capability}, {gpu.sm_mhz} of {gpu.max_sm_mhz} MHz"
        )
        if gpu.processes or used > BUSY_SHARE:
            who = f"processes {', '.join(str(pid) for pid in gpu.processes)}" if gpu.processes else "somebody"
            rows.append(warning(f"gpu {index}", f"{text}; in use by {who}", f"nvidia-smi -i {index}  # who is it?"))
        else:
            rows.append(ok(f"gpu {index}", text))
    return rows


def check_driver(machine: AbstractMachine) -> list[Finding]:
    """Return the driver's version."""
    driver = machine.driver()
    if driver is None:
        return [
            failure("driver", "no NVIDIA driver", "apt-get install -y nvidia-driver-580  # on a machine with a GPU")
        ]
    return [ok("driver", driver)]


def check_links(machine: AbstractMachine) -> list[Finding]:
    """Return the NVLink lanes of every pair of GPUs, and the transport to take."""
    count = len(machine.gpus())
    if count < 2:
        return [] if not count else [ok("links", "one GPU: P and D would share it, over TCP")]
    lanes = machine.nvlink_lanes()
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    if all(lanes.get(pair, 0) for pair in pairs):
        least = min(lanes[pair] for pair in pairs)
        return [ok("links", f"NVLink between all {count} GPUs, at least {least} lanes a pair; take --transport nvlink")]
    without = [f"{a}-{b}" for a, b in pairs if not lanes.get((a, b), 0)]
    transport = recommended(machine).value
    return [warning("links", f"no NVLink between GPUs {', '.join(without)}", f"take --transport {transport}")]


def recommended(machine: AbstractMachine) -> Transport:
    """Return the fastest transport that this machine has between its first two GPUs."""
    from ppdsim.calibrate.doctor.transfer import rdma_devices

    return fastest_transport([(0, 1)], nvlink_lanes=machine.nvlink_lanes(), rdma=bool(rdma_devices(machine)))
