"""One GPU as its driver describes it, and the programs on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUser:
    """A process on a GPU; `log` is that of the server that it belongs to, None if this package did not start it."""

    pid: int
    name: str = "unknown"
    log: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """One GPU as its driver describes it; memory in bytes, clocks in MHz, `users` are the programs on it."""

    name: str
    memory_bytes: int
    free_bytes: int
    compute_capability: str
    sm_mhz: int
    max_sm_mhz: int
    users: tuple[GpuUser, ...] = ()
