"""The GPUs, what else runs on them, and the links between them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from ppdsim.engines.doctor.driver import INSTALL_NVML, driver_version, has_driver, has_nvml
from ppdsim.engines.doctor.finding import Finding, failure, ok, warning
from ppdsim.engines.links import fastest_transport
from ppdsim.engines.sglang.doctor.transfer import (
    first_pair,
    has_in_node_mode,
    rdma_devices,
    usable_lanes,
    wanted_package,
)
from ppdsim.engines.sglang.doctor.versions import IN_NODE_SINCE
from ppdsim.machine.host import AbstractMachine
from ppdsim.machine.nvml import GpuUser
from ppdsim.machine.process_tree import SERVERS_FILE
from ppdsim.types import Transport

GIB = 2**30
BUSY_SHARE = 0.05
"""Share of a GPU's memory in use above which it is not free [1]: the driver itself takes less."""
IN_ONE_GPU = "or --transport nvlink, which copies within the GPU"
NO_GPU = "ppdsim fake-stack  # tries everything without a GPU; serving needs one"


def check_gpus(machine: AbstractMachine) -> list[Finding]:
    """Return a row a GPU: name, memory, free memory, capability, clocks, other processes."""
    gpus = machine.gpus()
    if not gpus:
        if not has_driver(machine):
            return [failure("gpus", "no GPU", NO_GPU)]
        if not has_nvml(machine):
            return [warning("gpus", "not seen: nvidia-ml-py is not installed", INSTALL_NVML)]
        return [failure("gpus", f"driver {driver_version(machine) or 'of unknown version'}, but no GPU", NO_GPU)]
    rows: list[Finding] = []
    for index, gpu in enumerate(gpus):
        used = 1.0 - gpu.free_bytes / gpu.memory_bytes
        text = (
            f"{gpu.name}, {gpu.free_bytes / GIB:.0f} of {gpu.memory_bytes / GIB:.0f} GiB free, compute capability "
            f"{gpu.compute_capability}, {gpu.sm_mhz} of {gpu.max_sm_mhz} MHz"
        )
        if gpu.users or used > BUSY_SHARE:
            who = ", ".join(map(_described, gpu.users)) or "somebody"
            rows.append(warning(f"gpu {index}", f"{text}; in use by {who}", _mend(machine, index, gpu.users)))
        else:
            rows.append(ok(f"gpu {index}", text))
    return rows


def _described(user: GpuUser) -> str:
    """Return who uses a GPU, in words; a server of this package by the name of its log."""
    ours = "" if user.log is None else f", {user.log.stem} of ppdsim, log {user.log}"
    return f"process {user.pid} ({user.name}{ours})"


def _mend(machine: AbstractMachine, index: int, users: Sequence[GpuUser]) -> str:
    """Return how to free a GPU: what ends the servers of this package that are on it, else how to see who it is."""
    folders = dict.fromkeys(user.log.parent for user in users if user.log is not None)
    ends = [
        f"ppdsim serve --stop {shlex.quote(str(folder))}"
        for folder in folders
        if SERVERS_FILE in machine.listing(folder)
    ]
    return " && ".join(ends) if ends else f"nvidia-smi -i {index}  # who is it?"


def check_links(machine: AbstractMachine) -> list[Finding]:
    """Return the NVLink lanes of every pair of GPUs, and the transport to take."""
    count = len(machine.gpus())
    if not count:
        return [ok("links", "no GPU seen, so no links")]
    take = f"--transport {recommended(machine).value}"
    if count == 1:
        return [ok("links", f"one GPU: P and D can share it (--max-total-tokens); take {take}, {IN_ONE_GPU}")]
    lanes = machine.nvlink_lanes()
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    if all(lanes.get(pair, 0) for pair in pairs):
        text = f"NVLink between all {count} GPUs: {_lanes_by_pair(lanes)}"
        if has_in_node_mode(machine):
            return [ok("links", f"{text}; take {take}")]
        fix = f"pip install --upgrade '{wanted_package(machine)}>={IN_NODE_SINCE}'  # till then {take}"
        return [warning("links", f"{text}, which this mooncake cannot use", fix)]
    without = [f"{a}-{b}" for a, b in pairs if not lanes.get((a, b), 0)]
    fix = f"ppdsim serve --model MODEL --prefill-gpu 0 --decode-gpu 1 {take}"
    rest = f"; elsewhere {_lanes_by_pair(lanes)}" if any(lanes.values()) else ""
    return [warning("links", f"no NVLink between GPUs {', '.join(without)}{rest}", fix)]


def _lanes_by_pair(lanes: Mapping[tuple[int, int], int]) -> str:
    """Return how many lanes which pairs have, the most first.

    >>> _lanes_by_pair({(0, 1): 18})
    '18 lanes'
    >>> _lanes_by_pair({(0, 1): 4, (0, 2): 12, (1, 2): 12, (0, 3): 0})
    '12 lanes (0-2, 1-2), 4 lanes (0-1)'
    """
    pairs: dict[int, list[str]] = {}
    for (a, b), count in sorted(lanes.items()):
        if count:
            pairs.setdefault(count, []).append(f"{a}-{b}")
    if len(pairs) == 1 and all(lanes.values()):
        return f"{next(iter(pairs))} lanes"
    return ", ".join(f"{count} lanes ({', '.join(pairs[count])})" for count in sorted(pairs, reverse=True))


def recommended(machine: AbstractMachine) -> Transport:
    """Return the fastest transport that this machine has between the GPUs that P and D would take."""
    return fastest_transport(first_pair(machine), nvlink_lanes=usable_lanes(machine), rdma=bool(rdma_devices(machine)))
