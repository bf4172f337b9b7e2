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

    `open` starts or joins the servers and yields the engine; leaving it takes down what it started.
    `decode_holds_prefix` says that the decode server has a prefix cache, so that a full transfer needs it emptied.
    `restartable` says that opening it again gives fresh servers.
    """

    name: str
    arms: tuple[tuple[Arm, Transport], ...]
    open: Callable[[], AbstractAsyncContextManager[AbstractEngine]]
    decode_holds_prefix: bool = False
    restartable: bool = True
