"""What one server is, before it runs: its command, environment, ports, and when it may start."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ppdsim.engines.sglang.client import Endpoints
from ppdsim.engines.sglang.doctor.transfer import rdma_devices, usable_lanes
from ppdsim.engines.sglang.doctor.versions import DECODE_RADIX_SINCE, numbers
from ppdsim.machine.host import AbstractMachine


class Role(str, Enum):
    """What a server is for."""

    PREFILL = "prefill"
    DECODE = "decode"
    UNIFIED = "unified"
    ROUTER = "router"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """One server to start.

    `env` is what its environment has beyond the inherited one. Servers of a `wave` start together, and a wave when all
    servers of the one before are healthy. `bootstrap_port` is a prefill server's second port, `metrics_port` the
    router's.
    """

    name: str
    role: Role
    argv: tuple[str, ...]
    env: Mapping[str, str]
    host: str
    port: int
    bootstrap_port: int | None = None
    metrics_port: int | None = None
    gpus: tuple[int, ...] = ()
    health_path: str = "/health"
    wave: int = 0

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.host}:{self.port}"

    @property
    def health_url(self) -> str:
        """What answers 200 once it is ready."""
        return self.url + self.health_path

    @property
    def log_name(self) -> str:
        """File name of its log."""
        return f"{self.name}.log"

    @property
    def held_ports(self) -> tuple[int, ...]:
        """Every port that it listens on and that was chosen here."""
        return tuple(port for port in (self.port, self.bootstrap_port, self.metrics_port) if port is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What must be known of the machine: cores that may be used, RDMA devices, GPUs, the engine.

    `nvlink_lanes` are by pair of GPUs, `gpu_memory_bytes` has one entry a GPU [B]. `decode_radix` says whether the
    engine can give a decode server a prefix cache, `runs_here` whether the servers are to run on this host: a dry run
    leaves open what another machine will decide.
    """

    cores: tuple[int, ...]
    infiniband: bool = False
    nvlink_lanes: Mapping[tuple[int, int], int] = field(default_factory=dict)
    gpu_memory_bytes: tuple[int, ...] = ()
    decode_radix: bool = True
    runs_here: bool = True


def host_of(machine: AbstractMachine, *, runs_here: bool = True) -> Host:
    """Return what a machine offers to servers that this process starts, or would start (`runs_here` False)."""
    # Where the operating system has no affinity (macOS), every core may be used.
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    engine = machine.version("sglang")
    return Host(
        cores=tuple(sorted(allowed)),
        infiniband=bool(rdma_devices(machine)),
        nvlink_lanes=usable_lanes(machine),
        gpu_memory_bytes=tuple(gpu.memory_bytes for gpu in machine.gpus()),
        decode_radix=engine is None or numbers(engine) >= numbers(DECODE_RADIX_SINCE),
        runs_here=runs_here,
    )


def endpoints_of(specs: Sequence[ServerSpec]) -> dict[str, Endpoints]:
    """Return where requests can go: ``pd`` (the router and what is behind it), and each unified server by name."""
    found: dict[str, Endpoints] = {}
    for spec in specs:
        if spec.role is Role.ROUTER:
            behind = tuple((s.role.value, s.url) for s in specs if s.role in (Role.PREFILL, Role.DECODE))
            found["pd"] = Endpoints(entry=spec.url, servers=behind)
        elif spec.role is Role.UNIFIED:
            found[spec.name] = Endpoints(entry=spec.url, servers=((Role.UNIFIED.value, spec.url),))
    return found
