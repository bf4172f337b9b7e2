"""Stand-in servers of an engine: they answer as it does and take their times from a profile, without a GPU."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ppdsim.types import Transport

DEFAULT_PROFILE = "h200x2_llama-3.1-8b_sglang-0.5.17"
"""The profile that ships."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """What to start.

    `router` is ``real``, ``mini-lb`` (a debugging load balancer) or ``none``. Ports are `port_base`
    for the router, then prefill, decode, unified and bootstrap; free ones if it is 0. `arguments` go to every server.
    """

    profile: str = DEFAULT_PROFILE
    mode: str = "pd"
    router: str = "real"
    port_base: int = 0
    time_scale: float = 1.0
    transport: Transport = Transport.TCP
    kv_transfer: str = "profile"
    decode_radix: bool = False
    kv_pool_tokens: int | None = None
    fault: str | None = None
    arguments: Sequence[str] = ()


class Running(Protocol):
    """Stand-ins that answer, by role."""

    @property
    def urls(self) -> Mapping[str, str]:
        """Where each answers."""

    @property
    def processes(self) -> Mapping[str, subprocess.Popen[bytes]]:
        """Their processes."""

    def ended(self) -> Mapping[str, int]:
        """Return the exit codes of those that have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """The stand-ins of one engine: `check` refuses options that contradict each other, `stack` opens servers."""

    check: Callable[[StackOptions], None]
    stack: Callable[[StackOptions], AbstractContextManager[Running]]
