"""What a workload is: conversations, each a list of turns, in order of arrival.

A conversation arrives at ``arrival_s`` and sends its first turn. A later turn is sent ``think_s`` after the last token
of the answer before it, so only the simulator knows when that is; or, where a trace tells when each request was sent,
at its own ``arrival_s``. Such a turn comes then whatever became of the turn before it, also where that is still
waiting or being answered: the recorded client sent it then, and its prompt is the recorded one. So every fleet and
policy meets the same arrivals. A turn says how many tokens its user adds (``new_tokens``) and how many the model
answers with (``output_tokens``, which no routing policy may read).

Where a trace knows prefixes by block (Mooncake), a turn carries ``block_ids``: the hashes of its prompt's blocks of
``block_tokens`` tokens, the last one possibly partial. Two prompts share a prefix up to the last block of the longest
common leading run of ids. Such a turn's ``new_tokens`` is its whole prompt; residency is decided by block.

This module does not know where KV lives: which tokens are cached is a matter of the machine, not of the workload.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

BLOCK_TOKENS = 512
"""Tokens in one hashed prefix block of a Mooncake trace [tokens]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSpec:
    """One turn as the user makes it.

    Attributes
    ----------
    new_tokens : int
        Tokens that this turn adds to the conversation, at least 1 [tokens].
    output_tokens : int
        Tokens of the answer, at least 1 [tokens].
    think_s : float
        Time from the previous answer's last token to this turn; 0 on the first turn [s].
    arrival_s : float or None
        When a later turn is sent, whatever became of the turns before it; None: `think_s` after the answer. All later
        turns of a conversation have one, or none has [s].
    block_ids : tuple of int or None
        Hashes of the prompt's blocks, where the trace has them.
    block_tokens : int
        Tokens of each such block, the same for all turns of a workload [tokens].
    clipped_tokens : int
        Tokens that the trace's prompt had beyond the model's context length [tokens].
    """

    new_tokens: int
    output_tokens: int
    think_s: float = 0.0
    arrival_s: float | None = None
    block_ids: tuple[int, ...] | None = None
    block_tokens: int = BLOCK_TOKENS
    clipped_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Turns that share a prefix; the first is sent at ``arrival_s`` [s]."""

    conversation_id: int | str
    arrival_s: float
    turns: tuple[TurnSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversations:
    """What a workload gives for one seed.

    Attributes
    ----------
    found : iterable of Conversation
        In order of ``arrival_s``. It may be readable once only; `kept` is not.
    notes : tuple of str
        What a reader of any result must know: what was dropped, moved or taken for something.
    """

    found: Iterable[Conversation]
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Conversation]:
        return iter(self.found)

    def kept(self) -> Conversations:
        """Return the same, all in memory."""
        return replace(self, found=tuple(self.found))


class AbstractWorkload(ABC):
    """A source of conversations."""

    __slots__ = ()

    @abstractmethod
    def conversations(self, rng: np.random.Generator) -> Conversations:
        """Return the conversations; equal generators give equal ones.

        Raises
        ------
        WorkloadError
            If the file behind the workload is malformed or empty.
        """
