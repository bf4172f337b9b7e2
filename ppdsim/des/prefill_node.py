"""What a prefill machine is to the fleet; its loop is the engine's (`Scheduler.prefill_node`)."""

from __future__ import annotations

import abc

from ppdsim.des.backlog import Backlog
from ppdsim.des.clock import Tick
from ppdsim.des.kv_cache import AbstractKvPool
from ppdsim.des.link import Links
from ppdsim.des.spec import NodeSpec


class AbstractPrefillNode(abc.ABC):
    """One P machine: node `number` of the fleet.

    Parameters
    ----------
    arrived : callable
        Called when a turn's KV is on D and the turn may join its batch.
    answered : callable
        Called with a turn and the time when P has seen that its KV is on D, and answers its own request.
    nic : SharedNic or None
        What the node sends through, if others do too.

    Attributes
    ----------
    start : float
        Beginning of the last forward [s].
    """

    __slots__ = ("backlog", "links", "pool", "spec", "start")

    backlog: Backlog
    links: Links
    pool: AbstractKvPool
    spec: NodeSpec
    start: float

    @abc.abstractmethod
    def ready(self, tick: Tick) -> None:
        """Queue a turn whose handshake is done."""

    @abc.abstractmethod
    def landed(self, turn: int, time: float) -> None:
        """Take note that a turn's KV is on D."""

    @abc.abstractmethod
    def drop(self, turn: int, time: float) -> bool:
        """Take a turn out that D has given up, and return true; false if a forward of it has begun."""

    @abc.abstractmethod
    def busy_s(self, now: float) -> float:
        """Return for how long forwards have run, until `now` [s]."""

    @abc.abstractmethod
    def check_integrity(self) -> None:
        """Check the books of the KV pool."""
