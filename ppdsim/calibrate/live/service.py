"""A service is one set of servers that some arms are measured on, started for the run or running already."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from ppdsim.calibrate.drivers.base import AbstractEngine
from ppdsim.types import Arm, Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Servers and what they can answer.

    `open` starts or joins the servers and yields the engine; leaving it takes down what it started. `starts_servers`
    says that opening it gives fresh ones. A decode server with a prefix cache (a start flag) is asked for delta
    transfers, one without for full ones: the two are services of their own. `notes` go into the manifest.
    """

    name: str
    arms: tuple[tuple[Arm, Transport], ...]
    open: Callable[[], AbstractAsyncContextManager[AbstractEngine]]
    starts_servers: bool = True
    notes: tuple[str, ...] = ()
