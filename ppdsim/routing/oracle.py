"""Hindsight: replay a plan that was found by looking at how whole runs went. For regret only; no router can do this.

::

    append iff (conversation, turn) is in the plan

`ppdsim.simulation.compare` finds the plan: it has run the other policies on the same conversations, and knows what
every turn cost on either arm. So the plan rests on true answer lengths; the policy itself, like every other, never sees
one.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.routing.base import AbstractPolicy
from ppdsim.routing.view import AbstractClusterView, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle(AbstractPolicy):
    """Append the turns of `plan`: (conversation id, turn from 0)."""

    plan: frozenset[tuple[str, int]]

    def appends(self, request: Request, view: AbstractClusterView, node: int, prefill: int) -> bool:
        """Return whether the plan says so."""
        del view, node, prefill
        return (str(request.conversation_id), request.turn) in self.plan
