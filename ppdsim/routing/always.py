"""The two fixed policies: every turn on P, or on the machine that decodes it wherever that has some of the prompt."""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.view import AbstractClusterView, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class AlwaysP(AbstractPolicy):
    """P prefills: what a P/D deployment does."""

    def appends(self, request: Request, view: AbstractClusterView, node: int, prefill: int) -> bool:
        """Return False."""
        del request, view, node, prefill
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class AlwaysD(AbstractPolicy):
    """The decode machine prefills every turn that it may."""

    def appends(self, request: Request, view: AbstractClusterView, node: int, prefill: int) -> bool:
        """Return True."""
        del request, view, node, prefill
        return True
