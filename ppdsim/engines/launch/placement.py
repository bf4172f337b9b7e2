"""Where servers go: groups of GPUs, cores of their own, ports that no two share.

With cores of their own each server's command begins with ``taskset``, and so the process that measures them knows which
cores are left to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ppdsim.engines.launch.launcher import AUTO, Settings
from ppdsim.engines.launch.specs import Host, Role, ServerSpec
from ppdsim.errors import InputError
from ppdsim.types import Transport

UNDECIDED = "CORES-OF"
"""What stands for a list of cores that only the machine that serves can decide on."""


def gpu_groups(gpus: Sequence[int], tp: int, role: Role) -> list[tuple[int, ...]]:
    """Return the GPUs of each server of a role.

    Raises
    ------
    InputError
        If they do not come in groups of `tp` different ones.
    """
    if len(gpus) % tp:
        listed = ",".join(map(str, gpus))
        raise InputError(f"--{role.value}-gpu {listed}: {len(gpus)} GPUs, expected a multiple of --tp {tp}")
    found = [tuple(gpus[first : first + tp]) for first in range(0, len(gpus), tp)]
    for group in found:
        if len(set(group)) < len(group):
            raise InputError(f"--{role.value}-gpu: a server of --tp {tp} needs {tp} different GPUs, given {group}")
    return found


def pins_of(settings: Settings, host: Host, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return what goes before each server's command to keep it on cores of its own.

    Raises
    ------
    InputError
        If there are too few cores, or the lists are not one a server.
    """
    if settings.cpu_pin is None:
        return [()] * len(names)
    if settings.cpu_pin == AUTO:
        # One share more than servers: the client must not compete with what it measures.
        share = len(host.cores) // (len(names) + 1)
        if share == 0 and not host.runs_here:
            return [("taskset", "-c", f"{UNDECIDED}-{name}") for name in names]
        if share == 0:
            raise InputError(
                f"--cpu-pin auto: {len(host.cores)} cores for {len(names)} servers and the client, expected at least "
                f"{len(names) + 1}"
            )
        lists = [",".join(map(str, host.cores[n * share : (n + 1) * share])) for n in range(len(names))]
    else:
        lists = settings.cpu_pin.split("/")
        if len(lists) != len(names):
            raise InputError(
                f"--cpu-pin {settings.cpu_pin}: {len(lists)} lists of cores, expected {len(names)}: {', '.join(names)}"
            )
        for cores in lists:
            if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", cores):
                raise InputError(f"--cpu-pin {settings.cpu_pin}: '{cores}' is no list of cores, such as 0-3 or 0,2,4")
    return [("taskset", "-c", cores) for cores in lists]


def cores_left(settings: Settings, host: Host, servers: Sequence[ServerSpec]) -> frozenset[int]:
    """Return the cores that pinned servers leave to the client; none where servers are not pinned."""
    if settings.cpu_pin is None or any(spec.argv[2].startswith(UNDECIDED) for spec in servers):
        return frozenset()
    taken = {core for spec in servers for core in _cores(spec.argv[2])}
    return frozenset(host.cores) - taken


def cores_note(settings: Settings, host: Host) -> str | None:
    """Return what a dry run says of cores that another machine will share out; None where none are shared out."""
    if settings.cpu_pin != AUTO or host.runs_here:
        return None
    return (
        "--cpu-pin auto: each server and the client get an equal share of the cores of the machine that serves; this "
        f"one has {len(host.cores)}"
    )


def link_note(settings: Settings, host: Host, transports: Sequence[Transport]) -> str | None:
    """Return what a dry run says of a link that another machine will choose; None where none is chosen."""
    if not settings.prefill_gpus or settings.transport != AUTO or host.runs_here:
        return None
    return f"--transport auto: the fastest link of the machine that serves; of this one it is {transports[0].value}"


def _cores(text: str) -> set[int]:
    """Read a list of cores as taskset does: ``0-3,8``."""
    ends = [part.split("-") for part in text.split(",")]
    return {core for first, *last in ends for core in range(int(first), int(last[0] if last else first) + 1)}


def check_ports(servers: Sequence[ServerSpec]) -> None:
    """Refuse a port that is none, or that two servers have.

    Raises
    ------
    InputError
        Naming the servers.
    """
    users: dict[int, str] = {}
    for spec in servers:
        for port in spec.held_ports:
            if not 1 <= port <= 65_535:
                raise InputError(f"port {port} of {spec.name}: expected 1 to 65535")
            if port in users:
                raise InputError(f"port {port} is given to {users[port]} and to {spec.name}")
            users[port] = spec.name
