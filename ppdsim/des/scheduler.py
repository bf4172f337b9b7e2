"""The parts of an engine's scheduler that the simulator runs; an engine's folder provides them.

The simulator has the clock, the pools, the links and the books; what is decided at a step is the engine's: whom a
decode node admits and retracts, how a step with prompts is formed, and what a prefill machine's loop does when.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ppdsim.des.admission import AbstractAdmission
    from ppdsim.des.clock import Clock, Tick
    from ppdsim.des.nic import SharedNic
    from ppdsim.des.node_memory import AbstractNodeMemory
    from ppdsim.des.prefill_node import AbstractPrefillNode
    from ppdsim.des.spec import ClusterSpec, NodeSpec
    from ppdsim.des.step_former import AbstractStepFormer
    from ppdsim.des.turns import Turns
    from ppdsim.types import NodeRole


class PrefillFactory(Protocol):
    """Makes P machine `number` of a fleet; see :class:`~ppdsim.des.prefill_node.AbstractPrefillNode`."""

    def __call__(
        self,
        turns: Turns,
        clock: Clock,
        spec: ClusterSpec,
        number: int,
        arrived: Callable[[Tick], None],
        answered: Callable[[int, float], None],
        nic: SharedNic | None = None,
    ) -> AbstractPrefillNode:
        """Return the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    """One engine's scheduler.

    Attributes
    ----------
    admission : callable
        Returns the rules for the memory of a decode node of a role.
    step_former : callable
        Returns what forms the steps of a node.
    prefill_node : callable
        Makes a P machine.
    pd_note : str
        That no release has a node that takes hand-offs and prefills, as results of such fleets say; empty if one has.
    """

    admission: Callable[[AbstractNodeMemory, ClusterSpec, NodeRole], AbstractAdmission]
    step_former: Callable[[NodeSpec], AbstractStepFormer]
    prefill_node: PrefillFactory
    pd_note: str = ""
