"""What an engine's scheduler decides about the memory of a decode node: whom it admits, retracts and takes back.

The node keeps the books (:mod:`ppdsim.des.node_memory`) and asks; an engine's folder answers. A rule that keeps no
books of its own leaves the hooks that tell it what happened as they are.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from ppdsim.des.batching import Piece
    from ppdsim.des.node_memory import AbstractNodeMemory


class AbstractAdmission(abc.ABC):
    """The rules for one decode node; `node` is what they are about.

    Boundaries are counted (`unit`), steps are decode steps.
    """

    __slots__ = ("_node",)

    resumes_from_copy: ClassVar[bool]
    """A retracted stream keeps its KV elsewhere and goes on with it; otherwise its KV is computed again."""

    def __init__(self, node: AbstractNodeMemory) -> None:
        self._node = node

    @property
    def again(self) -> float:
        """Return the boundary from which the waiting queue is looked at again; infinite: when a stream ends."""
        return math.inf

    @abc.abstractmethod
    def could_hold(self, turn: int) -> bool:
        """Return whether the empty pool could ever hold a turn."""

    @abc.abstractmethod
    def admits(self, turn: int, slots: int, *, reuse: bool) -> bool:
        """Return whether one of `slots` is free and the prompt fits beside what is kept back."""

    def steps_until_it_fits(self, turn: int, *, reuse: bool) -> int:
        """Return after how many decode steps at the earliest a hand-off that `admits` lets in may enter.

        0 is now, -1 is not before a stream has ended.
        """
        del turn, reuse
        return 0

    @abc.abstractmethod
    def takes_back(self, kv_tokens: int) -> bool:
        """Return whether the retracted stream that is first in line, of `kv_tokens`, may go on."""

    @abc.abstractmethod
    def keep_order(self) -> list[tuple[int, int]]:
        """Return (turn, KV tokens) of the streams, the one that is retracted first at the end."""

    # What happened

    def formed(self, pieces: Sequence[Piece]) -> None:
        """Take note of a forward whose pages are taken: what they lack is to be evicted."""
        del pieces
        self._node.pool.make_free(0)

    def begin_forward(self, decode_rows: int, cut_ends: int) -> None:
        """Begin to form a forward with `decode_rows` streams in it and the last chunk of `cut_ends`, if not -1."""

    def admitted(self, turn: int) -> None:
        """Take note of a turn that has its pages now."""

    def after_forward(self, streams_before: int, ended: int, *, mixed: bool, cut: bool) -> None:
        """Take note of a forward's end: who decoded before it, how many turns have ended with it."""

    def left(self, turns: Sequence[int]) -> None:
        """Take note of the streams that have their last token at this boundary."""

    def forget(self, turn: int) -> None:
        """Take note of a turn that has ended without a decode step."""

    def retracted(self, turn: int) -> None:
        """Take note of a stream that was retracted."""

    def withdrawn(self) -> None:
        """Take note of a retracted stream whose KV has been given back."""

    def retractions_done(self) -> None:
        """Take note that the coming step fits."""

    def idle(self) -> None:
        """Take note that the node has nothing to do."""
