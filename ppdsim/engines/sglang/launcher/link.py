"""Whether a machine has the link that was asked for; without it mooncake fails, or takes another one and says nothing.

It chooses by what it finds: an RDMA device or not, a mode that this build has or not. Hand-offs that were meant to go
by RDMA may then go by TCP, and what is measured bears the wrong name.
"""

from __future__ import annotations

from ppdsim.engines.sglang.doctor.transfer import has_in_node_mode, installed_package, rdma_devices, wanted_package
from ppdsim.engines.sglang.doctor.versions import IN_NODE_SINCE
from ppdsim.errors import EnvironmentProblem
from ppdsim.machine.host import AbstractMachine
from ppdsim.types import Transport


def refuse_missing_link(transport: Transport, machine: AbstractMachine) -> None:
    """Refuse a link that hand-offs could not use. A machine without a GPU runs stand-ins, which need none.

    Raises
    ------
    EnvironmentProblem
        If there is no RDMA device, or this mooncake has no NVLink mode.
    """
    if not machine.gpus():
        return
    if transport is Transport.RDMA and not rdma_devices(machine):
        raise EnvironmentProblem(
            "--transport rdma: this host has no RDMA device, hand-offs would fail or go by TCP; take --transport tcp"
        )
    if transport is Transport.NVLINK and not has_in_node_mode(machine):
        name, version = installed_package(machine) or ("mooncake", "")
        raise EnvironmentProblem(
            f"--transport nvlink: {name} {version} has no NVLink mode, hand-offs would fail or go another way; take "
            f"--transport tcp, or: pip install --upgrade '{wanted_package(machine)}>={IN_NODE_SINCE}'"
        )
