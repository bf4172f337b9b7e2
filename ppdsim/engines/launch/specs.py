"""What one server is, before it runs: its command, environment, ports, and when it may start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ppdsim.engines.client import Endpoints
from ppdsim.engines.logs import KnownIssues


class Role(str, Enum):
    """What a server is for."""

    PREFILL = "prefill"
    DECODE = "decode"
    UNIFIED = "unified"
    ROUTER = "router"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """One server to start.

    `env` is what its environment has beyond the inherited one; `not_inherited` names variables that would choose
    another link, which it gets from `env` or not at all. Servers of a `wave` start together, and a wave when all
    servers of the one before are healthy. `bootstrap_port` is a prefill server's second port, `metrics_port` the
    router's. `known_issues` say what its log means.
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
    not_inherited: tuple[str, ...] = ()
    known_issues: KnownIssues = field(default=KnownIssues(), repr=False)

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
