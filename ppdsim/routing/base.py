"""A routing policy: a pure function from a request and a view to a decision."""

from __future__ import annotations

import abc
from typing import NamedTuple

from ppdsim.routing.view import NOWHERE, AbstractClusterView, Request
from ppdsim.types import Arm, NodeRole


class Decision(NamedTuple):
    """Where a turn is prefilled and where it decodes; `prefill_node` is `decode_node` for an append."""

    arm: Arm
    prefill_node: int
    decode_node: int


class AbstractPolicy(abc.ABC):
    """A final subclass is a frozen dataclass and keeps no state: equal views get equal decisions."""

    __slots__ = ()

    def decide(self, request: Request, view: AbstractClusterView) -> Decision:
        """Return where the turn goes.

        The decode node is the conversation's home, else the least loaded one. A unified node prefills what it decodes
        and a D never does; only on a pD that has some of the prompt cached is there a choice.
        """
        home = view.home()
        node = home if home != NOWHERE else view.least_loaded_decode()
        role = view.role(node)
        if role is NodeRole.U:
            return Decision(Arm.APPEND_D, node, node)
        prefill = view.best_prefill()
        if role is NodeRole.PD and view.cached_tokens(node) and self.appends(request, view, node, prefill):
            return Decision(Arm.APPEND_D, node, node)
        return Decision(view.handoff_arm, prefill, node)

    @abc.abstractmethod
    def appends(self, request: Request, view: AbstractClusterView, node: int, prefill: int) -> bool:
        """Return whether `node`, a pD with some of the prompt, prefills the turn itself rather than the P `prefill`."""
