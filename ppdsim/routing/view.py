"""What a routing policy may see: the request without its answer, and the fleet as a router knows it.

Nothing here tells how many tokens a turn will generate. Loads are the router's own books and the nodes' present state;
`wait_s` is an estimate that counts the forward in progress and the turns already promised to a node.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Hashable
from typing import NamedTuple, TypeVar

from ppdsim.types import Arm, NodeRole

T = TypeVar("T")

NOWHERE = -1
"""Stands for "no node"."""


class Request(NamedTuple):
    """A turn as it arrives: who sends it, which turn it is (from 0), how long its prompt is [tokens].

    A tuple, as one is made for each turn: it takes a third of the time of a frozen dataclass.
    """

    conversation_id: int | str
    turn: int
    prompt_tokens: int


class AbstractClusterView(abc.ABC):
    """The fleet at the moment of a decision, read only."""

    __slots__ = ()

    def once(self, key: Hashable, work: Callable[[], T]) -> T:
        """Return what `work` returns; a view may remember it under `key` for as long as it shows the same moment."""
        del key
        return work()

    @property
    @abc.abstractmethod
    def handoff_arm(self) -> Arm:
        """Arm of a turn that P prefills."""

    @abc.abstractmethod
    def role(self, node: int) -> NodeRole:
        """Return a node's role."""

    @abc.abstractmethod
    def home(self) -> int:
        """Return the decode node that keeps this conversation's KV, or NOWHERE."""

    @abc.abstractmethod
    def least_loaded_decode(self) -> int:
        """Return the decode node with the fewest turns on it or on their way to it."""

    @abc.abstractmethod
    def best_prefill(self) -> int:
        """Return the P with much of this prompt in its cache, else the least loaded one; NOWHERE without P."""

    @abc.abstractmethod
    def cached_tokens(self, node: int) -> int:
        """Return the tokens of this prompt that are cached on a node."""

    @abc.abstractmethod
    def streams(self, node: int) -> int:
        """Return the streams that decode on a node now."""

    @abc.abstractmethod
    def context_tokens(self, node: int) -> int:
        """Return an estimate of the KV that a decode step reads there: prompts on the node and residents [tokens]."""

    @abc.abstractmethod
    def kv_pool_tokens(self, node: int) -> int:
        """Return how much KV a node can hold [tokens]."""

    @abc.abstractmethod
    def waiting_tokens(self, node: int) -> int:
        """Return the prompt tokens that were promised to a P, uncached there and not handed over yet [tokens]."""

    @abc.abstractmethod
    def turns_per_s(self, node: int) -> float:
        """Return the rate at which turns came to a decode node of late [1/s]."""

    @abc.abstractmethod
    def link_wait_s(self, prefill: int, node: int, wire_s: float) -> float:
        """Return by how much KV on its way delays what would be `wire_s` on the free link from a P to a node [s]."""

    @abc.abstractmethod
    def wait_s(self, node: int) -> float:
        """Return an estimate of the wait before a forward of this turn would start there [s]."""
